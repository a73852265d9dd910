// Keys. They move the focus and follow links, so all of them can be done without.
{
  const base = document.body.dataset.base;
  const dialog = document.getElementById("keys");
  const links = (more = "") =>
    [...document.querySelectorAll(`#rows :is(li, g)${more} > a, #rows tr${more} .go`)];
  const at = (all) => all.indexOf(document.activeElement);
  let before = "";

  const move = (by) => {
    const all = links();
    const here = at(all);
    const chosen = all.findIndex((one) => one.matches("[aria-current]"));
    const from = here >= 0 ? here : chosen >= 0 ? chosen : by > 0 ? -1 : all.length;
    all[Math.min(all.length - 1, Math.max(0, from + by))]?.focus();
  };
  const jump = (more, by) => {
    const all = links();
    const wanted = links(more);
    let here = at(all);
    if (here < 0) here = all.findIndex((one) => one.matches("[aria-current]"));
    const places = wanted.map((one) => all.indexOf(one));
    const next = by > 0 ? places.find((one) => one > here) : places.findLast((one) => one < here);
    const link = all[next ?? (by > 0 ? places[0] : places.at(-1))];
    link?.focus();
    const click = new MouseEvent("click", { bubbles: true, cancelable: true });
    if (document.body.dataset.page === "run") link?.dispatchEvent(click);
  };
  const neighbour = (by) => {
    let all = [];
    try {
      all = JSON.parse(sessionStorage.runs ?? "[]");
    } catch {
      return;
    }
    const name = (address) => {
      const asked = new URL(address).searchParams;
      return `${asked.get("workflow")}\n${asked.get("id")}`;
    };
    const here = all.findIndex((one) => name(one) === name(location.href));
    if (here >= 0 && all[here + by]) location.assign(all[here + by]);
  };
  const go = { r: "", w: "workflow", i: "insights", s: "search", h: "health" };
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    e: () => jump(":is(.s-failed, .s-lost):not(.k-call)", 1),
    E: () => jump(":is(.s-failed, .s-lost):not(.k-call)", -1),
    r: () => jump("[data-again]", 1),
    R: () => jump("[data-again]", -1),
    "[": () => neighbour(-1),
    "]": () => neighbour(1),
    "/": () =>
      ["#filters input", "#within", ".find input"]
        .map((one) => document.querySelector(one))
        .find((one) => one)
        ?.focus(),
    "?": () => dialog?.showModal(),
    Escape: () => history.length > 1 && history.back(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (dialog?.open) return;
    const known = before === "g" && event.key in go;
    const act = known ? () => location.assign(base + go[event.key]) : keys[event.key];
    before = event.key;
    if (!act) return;
    event.preventDefault();
    act();
  });
}
