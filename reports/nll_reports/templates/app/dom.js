// Elements and words. Text goes in as text nodes only: what foreign code named itself stays text.

const OUTCOMES = {
  pass: ["✓", "pass"],
  fail: ["✕", "fail"],
  crash: ["‼", "crash"],
  timeout: ["…", "timeout"],
  error: ["E", "suite error"],
  expected_failure: ["▲", "known failure"],
  unexpected_pass: ["△", "known failure that passes"],
  unsupported: ["–", "unsupported"],
  inconclusive: ["?", "inconclusive"],
  not_run: ["○", "not run"],
};
const BAD = ["fail", "crash", "timeout", "error"];
const GOOD = ["pass", "unexpected_pass"];
// The order in which outcomes decide the mark of a cell.
const GRAVITY = ["error", "crash", "timeout", "fail", "expected_failure", "unexpected_pass", "pass",
  "inconclusive", "unsupported", "not_run"];
const VERDICTS = {
  "conforms": ["✓", "pass"],
  "does not conform": ["✕", "fail"],
  "not judged": ["○", "none"],
};

/** An element; attributes by name, `on...` as listeners, children as nodes, text or lists. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function mark(outcome) {
  const [symbol, word] = OUTCOMES[outcome];
  return [h("span", {class: "mark", "aria-hidden": "true"}, symbol), h("span", {class: "hidden"}, word)];
}

function outcomeText(outcome) {
  const [symbol, word] = OUTCOMES[outcome];
  return h("span", {class: `o-${outcome}`}, h("span", {class: "mark", "aria-hidden": "true"}, symbol), " ", word);
}

function verdictBadge(verdict) {
  const [symbol, style] = VERDICTS[verdict] || VERDICTS["not judged"];
  return h("span", {class: `badge o-${style}`}, h("span", {"aria-hidden": "true"}, symbol), " ", verdict);
}

/** A link that is only one if the address is of the web. */
function outward(address) {
  return /^https?:\/\//.test(address) ? h("a", {href: address, rel: "noopener noreferrer"}, address) : address;
}

function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", {class: "facts"}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** A table: heads are strings or [text, class]; cells are values or nodes. */
function table(caption, heads, rows, options = {}) {
  const classes = heads.map((head) => (Array.isArray(head) ? head[1] : ""));
  return h("div", {class: `scroll ${options.tall ? "tall" : ""}`, tabindex: "0", role: "region", "aria-label": caption},
    h("table", {class: "list"},
      h("caption", {class: "hidden"}, caption),
      h("thead", {}, h("tr", {}, heads.map((head, place) =>
        h("th", {scope: "col", class: classes[place]}, Array.isArray(head) ? head[0] : head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) =>
        place === 0 ? h("th", {scope: "row", class: classes[0]}, cell) : h("td", {class: classes[place]}, cell)))))));
}

/** Source text with a button that copies it. */
function code(text, label, oneLine = false) {
  const button = h("button", {type: "button", "aria-label": `Copy ${label}`}, "Copy");
  button.addEventListener("click", async () => {
    const done = await copied(text);
    button.textContent = done ? "Copied" : "Select and copy";
    say(done ? `${label} copied` : "The browser refused; select the text and copy it.");
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return h("div", {class: oneLine ? "code one" : "code"},
    h("pre", {tabindex: "0", role: "region", "aria-label": label}, h("code", {}, text)), button);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages opened from a file have no clipboard in some browsers.
    const area = h("textarea", {class: "hidden", "aria-hidden": "true"});
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Tell a screen reader. */
function say(text) {
  document.getElementById("status").textContent = text;
}

const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
const count = (number) => Number(number).toLocaleString("en").replace(/,/g, "\u202f");

/** A number with three significant digits, powers of ten where plain digits would be many. */
function figure(value, digits = 3) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${Number(mantissa)}·10${superscript(Number(power))}`;
  }
  return String(Number(value.toPrecision(digits)));
}

const superscript = (power) => [...String(power)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");

function milliseconds(value) {
  if (value === null || value === undefined) return "";
  if (value >= 1000) return `${figure(value / 1000)} s`;
  return value >= 1 ? `${figure(value)} ms` : `${figure(value * 1000)} µs`;
}

function bytes(value) {
  if (value === null || value === undefined) return "";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (Math.abs(value) >= size) return `${figure(value / size)} ${unit}`;
  }
  return `${figure(value)} B`;
}

const commit = (text) => (text ? `${text.slice(0, 10)}${text.endsWith("+") ? "+" : ""}` : "");
const day = (text) => (text ? text.slice(0, 16).replace("T", " ") : "");
