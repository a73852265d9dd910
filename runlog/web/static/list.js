// The list of runs: new runs are counted, and shown when asked for, so no row jumps. The
// row of a run that has changed is replaced where it is.
if (document.body.dataset.page === "runs") {
  const { workflow, status, thread, narrow } = document.body.dataset;
  const news = document.getElementById("news");
  const rows = () => [...document.querySelectorAll("#rows tbody tr")];
  const named = (its, id) => `${its}\n${id}`;
  const key = (row) => named(row.dataset.workflow, row.dataset.run);
  const shown = new Map(rows().map((row) => [key(row), row.dataset.status]));
  // What is older than the last row of a full page stands on another page.
  const full = document.getElementById("older");
  const oldest = Number((full && rows().at(-1)?.dataset.created) ?? 0);
  const fresh = new Set();
  let waiting = false;

  const fits = (run) =>
    (!workflow || run.workflow === workflow) &&
    (!status || run.status === status) &&
    (!thread || run.thread === thread);

  const announce = () => {
    if (!fresh.size) return;
    const more = fresh.size >= 100 ? "100 or more new runs" : `${fresh.size} new run${fresh.size > 1 ? "s" : ""}`;
    news.firstElementChild.textContent = `${more}: show`;
    news.hidden = false;
  };
  const compare = async () => {
    waiting = false;
    const answer = await fetch(location.href).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const row of page.querySelectorAll("#rows tbody tr")) {
      const old = rows().find((one) => key(one) === key(row));
      if (!old) fresh.add(key(row));
      if (!old || old.dataset.status === row.dataset.status) continue;
      const focused = old.contains(document.activeElement);
      old.replaceWith(document.adoptNode(row));
      shown.set(key(row), row.dataset.status);
      if (focused) row.querySelector("a").focus();
    }
    announce();
  };
  const later = (ms) => {
    if (!waiting) setTimeout(compare, ms);
    waiting = true;
  };

  document.addEventListener("live", ({ detail }) => {
    if (detail.kind !== "runs") return;
    for (const run of detail.data) {
      const name = named(run.workflow, run.id);
      if (shown.has(name)) {
        if (shown.get(name) !== run.status) later(300);
      } else if (run.created >= oldest && fits(run)) {
        // An event does not say which error or nodes a run has: the page does.
        if (narrow) later(2000);
        else fresh.add(name);
      }
    }
    announce();
  });
  try {
    sessionStorage.runs = JSON.stringify(rows().map((row) => row.querySelector("a").href));
  } catch {
    // without storage, the keys [ and ] do nothing
  }
}
