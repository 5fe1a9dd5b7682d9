// Says so when the session behind the page has ended; a dead kernel otherwise leaves a page that looks alive.

const LOOK_MS = 5000;
const PATIENCE_MS = 6000;  // a short loss of the connection mends itself

// The server is asked: when it ends a kernel (culling, shutdown) it leaves the page's connection open.
async function isAlive(kernel) {
  if (kernel.isDisposed || kernel.status === "dead") return false;
  const {baseUrl, token} = kernel.serverSettings;
  const headers = token ? {Authorization: `token ${token}`} : {};
  const answer = await fetch(`${baseUrl}api/kernels/${kernel.id}`, {headers, cache: "no-store"});
  return answer.ok;
}

// A kernel that died is started again under the same id, and knows nothing of what the page shows.
const LOST = ["restarting", "autorestarting", "terminating", "dead"];

// One look for all panels of a page.
function watch(kernel, tell) {
  globalThis.__helpersAlive ??= new Map();
  const watches = globalThis.__helpersAlive;
  if (!watches.has(kernel.id)) watches.set(kernel.id, {tells: new Set(), ended: false, lostAt: null});
  const state = watches.get(kernel.id);
  state.tells.add(tell);
  state.status ??= (_kernel, status) => {
    if (!LOST.includes(status)) return;
    state.ended = state.gone = true;
    clearInterval(state.timer);
    for (const tellOne of state.tells) tellOne(true);
  };
  if (state.tells.size === 1) kernel.statusChanged.connect(state.status);
  state.timer ??= setInterval(async () => {
    let alive;
    try {
      alive = await isAlive(kernel);
      state.lostAt = null;
    } catch {  // no answer at all: the server or the network is gone, perhaps for a moment
      state.lostAt ??= performance.now();
      alive = performance.now() - state.lostAt < PATIENCE_MS;
    }
    if (state.gone) return;
    state.ended = !alive;
    for (const tellOne of state.tells) tellOne(state.ended);
    if (state.ended && state.lostAt === null) clearInterval(state.timer);  // a kernel does not come back
  }, LOOK_MS);
  return () => {
    state.tells.delete(tell);
    if (state.tells.size) return;
    clearInterval(state.timer);
    kernel.statusChanged.disconnect(state.status);
    watches.delete(kernel.id);
  };
}

export default {
  render({model, el}) {
    const kernel = model.widget_manager.kernel;
    if (!kernel) return;
    const banner = document.createElement("div");
    banner.className = "app-ended";
    banner.dataset.kernel = kernel.id;
    banner.setAttribute("role", "alert");
    banner.hidden = true;
    banner.append("Session ended: what you see no longer answers. ");
    if (document.body.dataset.voila) {
      const button = document.createElement("button");
      button.textContent = "Reload";
      button.onclick = () => location.reload();
      banner.append(button);
    } else {
      banner.append("Run the notebook's cells again.");
    }
    el.append(banner);
    return watch(kernel, ended => {
      const first = document.querySelector(`.app-ended[data-kernel="${kernel.id}"]`);
      banner.hidden = !ended || banner !== first;
    });
  },
};
