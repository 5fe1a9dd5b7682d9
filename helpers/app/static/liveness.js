// Says so when the session behind the page has ended; a dead kernel otherwise leaves a page that looks alive.

const PATIENCE_MS = 6000;  // a short loss of the connection mends itself

export default {
  render({model, el}) {
    const banner = document.createElement("div");
    banner.className = "app-ended";
    banner.setAttribute("role", "alert");
    banner.hidden = true;
    banner.textContent = "Session ended: what you see no longer answers. ";
    const button = document.createElement("button");
    button.textContent = "Reload";
    button.onclick = () => location.reload();
    banner.append(button);
    el.append(banner);

    let lostAt = null;
    const look = () => {
      const kernel = model.widget_manager.kernel;
      const dead = !kernel || kernel.isDisposed || kernel.status === "dead" || kernel.status === "terminating";
      if (!dead && kernel.connectionStatus === "connected") lostAt = null;
      else lostAt ??= Date.now();
      const ended = lostAt !== null && (dead || Date.now() - lostAt > PATIENCE_MS);
      if (banner.hidden === ended) banner.hidden = !ended;
    };
    const timer = setInterval(look, 1000);
    return () => clearInterval(timer);
  },
};
