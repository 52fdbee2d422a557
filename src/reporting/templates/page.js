"use strict";
// Figures are drawn with the colours of neurotwin.plotting; on dark paper these are exchanged for their counterparts.
const DARK = { "#1b1d21": "#e8e9ec", "#6c7079": "#a3a8b3", "#e2e4e8": "#33363d" };
const CONFIG = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"], toImageButtonOptions: { format: "svg" } };
const root = document.documentElement, button = document.getElementById("theme");
const wanted = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Set();

function setTheme(theme) {
  root.dataset.theme = theme;
  button.setAttribute("aria-pressed", String(theme === "dark"));
  drawn.forEach(draw);
}

function draw(plot) {
  const text = plot.nextElementSibling.textContent;
  const dark = root.dataset.theme === "dark";
  const spec = JSON.parse(dark ? text.replace(/#1b1d21|#6c7079|#e2e4e8/g, (colour) => DARK[colour]) : text);
  const sliders = spec.layout.sliders || [];
  delete spec.layout.sliders; // native ones below: keyboards and screen readers know them
  spec.config = CONFIG;
  if (drawn.has(plot)) {
    Plotly.react(plot, spec.data, spec.layout, CONFIG).then(() => plot.parentElement.querySelectorAll(".sliders input").forEach((input) => input.oninput()));
    return;
  }
  drawn.add(plot);
  Plotly.newPlot(plot, spec);
  addSliders(plot, sliders);
  plot.addEventListener("keydown", steer);
}

function addSliders(plot, sliders) {
  if (!sliders.length) return;
  const box = document.createElement("div");
  box.className = "sliders";
  for (const slider of sliders) {
    const label = document.createElement("label"), input = document.createElement("input"), name = document.createElement("span");
    const { prefix = "", suffix = "" } = slider.currentvalue || {};
    Object.assign(input, { type: "range", min: 0, max: slider.steps.length - 1, value: slider.active || 0 });
    const show = () => {
      const step = slider.steps[input.value];
      name.textContent = prefix + step.label + suffix;
      input.setAttribute("aria-valuetext", name.textContent);
      return step;
    };
    input.oninput = () => Plotly.animate(plot, ...show().args).catch(() => {}); // the next step may overtake it
    show();
    label.append(name, input);
    box.append(label);
  }
  plot.after(box);
  // The figure's data must stay the plot's next sibling.
  box.before(box.nextElementSibling);
}

function steer(event) {
  const plot = event.currentTarget;
  if (event.target !== plot || event.ctrlKey || event.metaKey || event.altKey) return;
  const move = { ArrowLeft: [-0.2, 1], ArrowRight: [0.2, 1], "+": [0, 0.5], "=": [0, 0.5], "-": [0, 2] }[event.key];
  if (!move && event.key !== "0") return;
  event.preventDefault();
  const axes = Object.keys(plot._fullLayout).filter((key) => /^xaxis\d*$/.test(key) && ["linear", "log"].includes(plot._fullLayout[key].type));
  const change = {};
  for (const axis of axes) {
    if (!move) { change[axis + ".autorange"] = true; continue; }
    const [from, to] = plot._fullLayout[axis].range, middle = (from + to) / 2 + move[0] * (to - from), half = ((to - from) / 2) * move[1];
    change[axis + ".range"] = [middle - half, middle + half];
  }
  Plotly.relayout(plot, change);
}

root.dataset.theme = wanted.matches ? "dark" : "light";
setTheme(root.dataset.theme);
button.onclick = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
wanted.addEventListener("change", () => setTheme(wanted.matches ? "dark" : "light"));

// Of the cases of a browser one is seen; without this script all are.
for (const browser of document.querySelectorAll(".browser")) {
  const list = browser.querySelector("select"), cases = browser.querySelectorAll("figure"), where = browser.querySelector(".where");
  const [previous, next] = browser.querySelectorAll("button");
  const show = (index) => {
    list.selectedIndex = index;
    cases.forEach((figure, k) => { figure.hidden = k !== index; });
    where.textContent = `${index + 1} of ${cases.length}`;
    previous.disabled = index === 0;
    next.disabled = index === cases.length - 1;
    const plot = cases[index].querySelector(".plot");
    if (drawn.has(plot)) Plotly.Plots.resize(plot); // the window or the theme may have changed while it was hidden
  };
  list.onchange = () => show(list.selectedIndex);
  previous.onclick = () => show(list.selectedIndex - 1);
  next.onclick = () => show(list.selectedIndex + 1);
  show(list.selectedIndex);
  browser.querySelector(".cases").hidden = false;
}

// Each figure is drawn when it comes near the screen; those in closed parts when they are opened.
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
}, { rootMargin: "400px" });
document.querySelectorAll(".plot").forEach((plot) => watcher.observe(plot));

let before = null;
addEventListener("beforeprint", () => {
  before = root.dataset.theme;
  document.querySelectorAll(".plot").forEach((plot) => { if (!drawn.has(plot) && plot.offsetParent) draw(plot); });
  setTheme("light");
});
addEventListener("afterprint", () => setTheme(before || "light"));
