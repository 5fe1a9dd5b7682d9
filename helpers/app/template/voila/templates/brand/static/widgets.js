// Waits longer for widgets that a busy kernel sends late, asks for them again, and says so where one stays away.
//
// ipywidgets asks for all widgets at once and waits 4 s, which no setting changes, then for each by itself: many
// seconds' work for a kernel that was about to answer. A place that is drawn before its model has come says "model
// not found" ever after, and where the second way is cut short, "Loading widget..." (ipywidgets' issues 3633 and 4026).
(() => {
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const NOT_SHOWN = /^(Loading widget|Error displaying widget)/;
  const LOOK_MS = 500;
  const GIVES_UP = "Control comm did not respond in time", TOO_SOON_MS = 4_000;  // ipywidgets' own
  const BUSY_MS = 15_000;  // in its place
  const UNREADY_MS = 2_000;  // anywidget's own: a model that is not ready by then refuses all that is sent to it later
  const READY_MS = 120_000;  // in its place
  const SLOW_MS = 20_000;  // of one way of asking: it is given up
  const PATIENCE_MS = 30_000;
  const began = performance.now();
  let asked = began;
  let rest = 5_000;  // until it is asked again; longer each time, since the kernel is busy

  const after = globalThis.setTimeout;
  globalThis.setTimeout = (work, ms, ...rest) =>
    after(work, ms === TOO_SOON_MS && String(work).includes(GIVES_UP) ? BUSY_MS : ms, ...rest);
  const end = AbortSignal.timeout;
  AbortSignal.timeout = ms => end.call(AbortSignal, ms === UNREADY_MS ? READY_MS : ms);

  // ipywidgets looks for a model every 100 ms for 2 s, but not once more after the last wait: a busy page that built its
  // models just then is told that there is none. Voila gives its manager away only when it has begun to draw.
  const MANAGER = "@voila-dashboards/widgets-manager8";
  let manager, loaded;
  Object.defineProperty(globalThis._JUPYTERLAB ??= {}, MANAGER, {
    configurable: true, enumerable: true, get: () => loaded,
    set(container) {
      loaded = {init: container.init, get: async name => {
        const module = (await container.get(name))();
        for (const plugin of [module.default ?? []].flat()) {
          const activate = plugin.activate;
          plugin.activate = (app, ...rest) => {
            app.widgetManagerPromise.promise.then(keep);
            return activate(app, ...rest);
          };
        }
        return () => module;
      }};
    },
  });

  function keep(made) {
    manager = made;
    const get = made.get_model;
    made.get_model = async id => {
      try {
        return await get.call(made, id);
      } catch (error) {
        if (made.has_model(id)) return get.call(made, id);
        throw error;
      }
    };
  }

  // Where a widget belongs. This runs before Voila takes these elements away.
  const places = [];
  for (const element of document.querySelectorAll('script[type="application/vnd.voila.cell-output+json"]')) {
    const id = JSON.parse(element.textContent).data?.[VIEW]?.model_id;
    if (id) places.push({parent: element.parentElement, element, id, seen: 0});
  }
  if (!places.length) return;

  const banner = document.createElement("div");
  banner.className = "brand-late";
  banner.setAttribute("role", "alert");
  const button = document.createElement("button");
  button.textContent = "Reload";
  button.onclick = () => location.reload();

  // The output that holds no widget yet; null where the place is not drawn, undefined where all is well.
  function unshown(place) {
    if (place.element.isConnected) return null;
    return [...place.parent.children].find(node => NOT_SHOWN.test(node.textContent));
  }

  async function draw(place, node) {
    place.seen = 0;
    const view = await manager.create_view(await manager.get_model(place.id));
    const widget = view.luminoWidget ?? view.pWidget;
    node.textContent = "";
    widget.constructor.attach(widget, node);
  }

  function ask() {
    if (performance.now() - asked < (manager._kernelRestoreInProgress ? Math.max(SLOW_MS, rest) : rest)) return;
    asked = performance.now();
    rest = Math.min(2 * rest, 60_000);
    // What was asked for and never came is half open, and would be refused as "already created".
    for (const [id, comm] of [...(manager.kernel?._comms ?? [])]) if (!manager.has_model(id)) comm.dispose();
    manager.restoreWidgets();
  }

  function look() {
    const missing = places.filter(place => unshown(place) !== undefined);
    for (const place of missing) {
      const node = unshown(place);
      if (!manager || !node) continue;
      if (!manager.has_model(place.id)) ask();
      else if (++place.seen > 3) draw(place, node).catch(error => console.warn(error));  // it has had its time
    }
    const late = missing.length > 0 && performance.now() - began > PATIENCE_MS;
    if (late && !banner.isConnected) {
      banner.replaceChildren("A part of this page has not arrived: the server is busy, or the line is lost. ", button);
      document.body.append(banner);
    } else if (!late) {
      banner.remove();
    }
    if (!missing.length && performance.now() - began > PATIENCE_MS) clearInterval(timer);
  }

  const timer = setInterval(look, LOOK_MS);
})();
