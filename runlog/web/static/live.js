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
      // A browser comes again by itself, but not after an answer such as a proxy's 502.
      if (stream.readyState === EventSource.CLOSED) {
        close();
        setTimeout(resume, 5000);
      }
    };
  };
  const close = () => {
    stream?.close();
    stream = null;
  };
  const resume = () => {
    if (!stream && !document.hidden && document.body.dataset.live) open();
  };
  document.addEventListener("live-end", () => {
    close();
    mark.textContent = "";
    delete document.body.dataset.live;
  });
  if (address) {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) close();
      else resume();
    });
    addEventListener("pagehide", close);
    addEventListener("pageshow", resume);
  }
}
