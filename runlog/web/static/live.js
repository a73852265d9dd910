// What is new: a stream of events, open while the tab is seen. A browser has few
// connections to one server, so a hidden tab gives its own back.
{
  const address = document.body.dataset.live;
  const away = document.getElementById("away");
  const mark = document.getElementById("live");
  let stream = null;

  const tell = (kind) => (event) => {
    away.hidden = kind !== "away";
    mark.textContent = kind === "away" ? "" : "live";
    const detail = { kind, data: JSON.parse(event.data) };
    document.dispatchEvent(new CustomEvent("live", { detail }));
  };
  const open = () => {
    stream = new EventSource(address);
    for (const kind of ["runs", "run", "away"]) stream.addEventListener(kind, tell(kind));
    stream.onerror = () => {
      mark.textContent = "";
      away.hidden = false;
    };
  };
  const close = () => {
    stream?.close();
    stream = null;
  };
  document.addEventListener("live-end", () => {
    close();
    mark.textContent = "";
    delete document.body.dataset.live;
  });
  if (address) {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) close();
      else if (!stream && document.body.dataset.live) open();
    });
    addEventListener("pagehide", close);
    addEventListener("pageshow", () => {
      if (!stream && !document.hidden && document.body.dataset.live) open();
    });
  }
}
