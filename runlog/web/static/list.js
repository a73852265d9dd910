// The list of runs: new runs are counted, and shown when asked for, so no row jumps. The
// row of a run that has changed is replaced where it is.
if (document.body.dataset.page === "runs") {
  const { workflow, status, thread } = document.body.dataset;
  const news = document.getElementById("news");
  const rows = () => [...document.querySelectorAll("#rows tbody tr")];
  const shown = new Map(rows().map((row) => [row.dataset.run, row.dataset.status]));
  const newest = Number(rows()[0]?.dataset.created ?? 0);
  const fresh = new Set();
  let waiting = false;

  const fits = (run) =>
    (!workflow || run.workflow === workflow) &&
    (!status || run.status === status) &&
    (!thread || run.thread === thread);

  const replace = async () => {
    waiting = false;
    const answer = await fetch(location.href).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const row of page.querySelectorAll("#rows tbody tr")) {
      const id = row.dataset.run;
      const old = rows().find((one) => one.dataset.run === id);
      if (!old || old.dataset.status === row.dataset.status) continue;
      const focused = old.contains(document.activeElement);
      old.replaceWith(document.adoptNode(row));
      shown.set(id, row.dataset.status);
      if (focused) row.querySelector("a").focus();
    }
  };

  document.addEventListener("live", ({ detail }) => {
    if (detail.kind !== "runs") return;
    for (const run of detail.data) {
      if (shown.has(run.id)) {
        if (shown.get(run.id) !== run.status && !waiting) {
          waiting = true;
          setTimeout(replace, 300);
        }
      } else if (run.created >= newest && fits(run)) {
        fresh.add(run.id);
      }
    }
    if (fresh.size) {
      const more = fresh.size >= 100 ? "100 or more new runs" : `${fresh.size} new run${fresh.size > 1 ? "s" : ""}`;
      news.firstElementChild.textContent = `${more}: show`;
      news.hidden = false;
    }
  });
  try {
    sessionStorage.runs = JSON.stringify(rows().map((row) => row.querySelector("a").href));
  } catch {
    // without storage, the keys [ and ] do nothing
  }
}
