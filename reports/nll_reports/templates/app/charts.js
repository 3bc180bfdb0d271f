// Charts are Vega-Lite, drawn as SVG; the library is started when the first chart is.

// Okabe and Ito's colours, which colour-blind readers tell apart; shapes and dashes besides.
const PALETTE = {
  light: ["#0072b2", "#d55e00", "#009e73", "#a14d83", "#8a6d00", "#2f8fc4", "#444444", "#7b3294"],
  dark: ["#56b4e9", "#ff9a5a", "#35c79b", "#e39ac6", "#e8c33c", "#9fd3f2", "#d0d0d0", "#c9a0dc"],
};
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right"];
const DARK = matchMedia("(prefers-color-scheme: dark)");

function library() {
  if (!window.vegaEmbed) {
    const script = document.createElement("script");
    script.textContent = document.getElementById("charts").textContent;
    document.head.append(script);
  }
  return window.vegaEmbed;
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const text = {labelColor: colour("--muted"), titleColor: colour("--muted"), labelFontSize: 11.5, titleFontSize: 12, titleFontWeight: 500};
  return {
    aria: false,
    background: "transparent",
    font: colour("--sans"),
    axis: {...text, gridColor: colour("--line"), domainColor: colour("--hatch"), tickColor: colour("--hatch"), gridOpacity: 0.7, labelOverlap: true},
    legend: {...text, orient: "bottom", columns: innerWidth < 640 ? 1 : 3, labelLimit: 280, symbolSize: 70, symbolOpacity: 1, title: null},
    header: text,
    view: {stroke: null},
    range: {category: PALETTE[DARK.matches ? "dark" : "light"], symbol: SHAPES},
    line: {strokeWidth: 2},
    rule: {color: colour("--muted")},
    text: {color: colour("--ink"), fontSize: 11.5},
  };
}

/** A figure: title and caption, chart, and the numbers as a table for whoever wants them. */
function chart(title, caption, spec, numbers) {
  // One picture for a screen reader, which has the numbers in a table.
  const place = h("div", {class: "chart", role: "img", "aria-label": `${title}. ${caption}`}, h("div"));
  const whole = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    width: "container",
    autosize: {type: "fit-x", contains: "padding"},
    ...spec,
    config: theme(),
  };
  queueMicrotask(() => draw(place, whole));
  return h("figure", {},
    h("figcaption", {}, h("strong", {}, title), caption),
    place,
    numbers && h("details", {}, h("summary", {}, "Numbers"), numbers));
}

async function draw(place, spec) {
  if (!place.isConnected) return;
  try {
    await library()(place.firstChild, spec, {actions: false, renderer: "svg", tooltip: {theme: "custom"}});
    place.querySelector("svg").setAttribute("aria-hidden", "true");
    place.dataset.drawn = "yes";
  } catch (error) {
    console.error(error);
    place.textContent = "This browser could not draw the chart; its numbers are below.";
  }
}
