// A run: a click on a node changes the pane alone, and a run that is open is kept current.
if (document.body.dataset.page === "run") {
  const get = async (address) => {
    const answer = await fetch(address).catch(() => null);
    if (answer?.ok) return new DOMParser().parseFromString(await answer.text(), "text/html");
    // What has gone is said by a page of its own; a server that is away may come back.
    if (answer?.status === 404) location.reload();
    else document.getElementById("away").hidden = false;
    return null;
  };

  const mark = (place) => {
    for (const link of document.querySelectorAll("#rows a[data-node]")) {
      const row = link.parentElement;
      const on = link.dataset.node === place && row.classList.contains("k-node");
      row.classList.toggle("on", on);
      if (on) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };

  const show = async (address) => {
    const asked = new URL(address, location.href);
    const place = asked.searchParams.get("node");
    const pane = document.getElementById("pane");
    if (!pane || place === null) return false;
    mark(place);
    const page = await get(new URL(`node${asked.search}`, asked));
    if (!page || new URL(location.href).search !== asked.search) return true;
    pane.replaceChildren(...page.body.childNodes);
    pane.scrollTop = 0;
    return true;
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#rows a[data-node]");
    const plain = !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    if (!link || !plain || event.button !== 0) return;
    if (!link.parentElement.matches(".k-node, .k-call")) return;
    if (!document.getElementById("pane")) return;
    event.preventDefault();
    const address = new URL(link.getAttribute("href"), location.href).href;
    history.pushState(null, "", address);
    show(address);
  });
  addEventListener("popstate", async () => {
    if (!(await show(location.href))) location.reload();
  });

  // Copy buttons: a text of their own, or the one that is shown below them. Browsers allow
  // it on this machine and over TLS; elsewhere there are no such buttons.
  document.documentElement.classList.toggle("copies", Boolean(navigator.clipboard));
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("button.copy");
    if (!button || button.dataset.told) return;
    const shown = () => button.parentElement.querySelector("pre").textContent;
    const { textContent: said, ariaLabel: label } = button;
    const done = await navigator.clipboard.writeText(button.dataset.copy ?? shown()).then(
      () => "copied",
      () => "can’t copy",
    );
    button.textContent = button.ariaLabel = button.dataset.told = done;
    setTimeout(() => {
      button.textContent = said;
      button.ariaLabel = label;
      delete button.dataset.told;
    }, 1500);
  });

  let busy = false;
  let again = false;
  const refresh = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const page = await get(location.href);
    const focused = document.activeElement?.closest("#rows a")?.dataset.node;
    for (const id of ["head", "line"]) {
      const now = page?.getElementById(id);
      if (now) document.getElementById(id).replaceWith(document.adoptNode(now));
    }
    const pane = page?.getElementById("pane");
    const old = document.getElementById("pane");
    if (pane && !old) location.reload();
    else if (pane && old.firstElementChild.textContent !== pane.firstElementChild.textContent) {
      old.replaceChildren(...pane.childNodes);
    }
    if (focused) document.querySelector(`#rows a[data-node="${focused}"]`)?.focus();
    if (page && !page.body.dataset.live) document.dispatchEvent(new Event("live-end"));
    busy = false;
    if (again) {
      again = false;
      refresh();
    }
  };
  let known = document.body.dataset.updated;
  document.addEventListener("live", ({ detail }) => {
    if (detail.kind !== "run" || detail.data?.updated === known) return;
    known = detail.data?.updated;
    refresh();
  });
}
