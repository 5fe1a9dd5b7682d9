// Gives sliders, their number boxes and progress bars the name and the value that stand beside them, for those who hear the page.

const NAMELESS = ".widget-slider .noUi-handle:not([aria-label]), .widget-hprogress [role=progressbar]:not([aria-label])";

export default {
  render({el}) {
    el.style.display = "none";
    const panel = () => el.closest(".app-panel") ?? el.parentElement;
    const name = () => {
      for (const nameless of panel()?.querySelectorAll(NAMELESS) ?? []) {
        const widget = nameless.closest(".jupyter-widgets");
        const label = widget.querySelector(".widget-label")?.textContent;
        nameless.setAttribute("aria-label", label || widget.title || "Progress");
      }
      for (const box of panel()?.querySelectorAll(".app-number") ?? []) {
        const label = box.querySelector(".widget-label")?.textContent;
        box.querySelector("input[type=text]:not([aria-label])")?.setAttribute("aria-label", `${label}, as a number`);
      }
      for (const handle of panel()?.querySelectorAll(".widget-slider .noUi-handle") ?? []) {
        const value = handle.closest(".widget-slider").querySelector(".widget-readout")?.textContent;
        // The slider itself says 0.7 for 0.71.
        if (value && handle.getAttribute("aria-valuetext") !== value) handle.setAttribute("aria-valuetext", value);
      }
    };
    const frame = requestAnimationFrame(() => {  // only now it stands in the page
      name();
      if (panel()) observer.observe(panel(), {subtree: true, childList: true});
    });
    const observer = new MutationObserver(name);
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
    };
  },
};
