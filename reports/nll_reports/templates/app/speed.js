// Speed and memory, beside the verdict on the same version; accuracy against speed.

const BENCH = DATA.speed.rows.map((row) => {
  const found = Object.fromEntries(DATA.speed.columns.map((column, place) => [column, row[place]]));
  const [name, family] = DATA.speed.names[found.name];
  const [machine, kind] = DATA.speed.machines[found.machine];
  return {...found, who: labelOf(name, family, DATA.speed.names), family, machine: `${machine} (${kind})`,
    subject: found.judged === null ? null : IMPLEMENTATIONS[found.judged], copy: DATA.speed.copies.includes(name)};
});
const MEASURES = {
  ratio_to_copy: ["time / copy of the logits", "Time as a multiple of a copy of the logits in the same run"],
  ratio_to_torch: ["time / eager PyTorch", "Time as a multiple of eager PyTorch in the same run"],
  added_bytes_ratio: ["added memory / logits", "Peak memory that the call adds, as a multiple of the logits' bytes"],
};
const PASSES = ["forward", "backward", "both"];
const PASS_WORDS = {forward: "forward", backward: "backward alone", both: "forward + backward"};
// Lines that one chart can hold and still be told apart.
const LINES = 8;

function benchRows(route) {
  const f = filtersOf(route);
  const fits = matching(f.q);
  return BENCH.filter((row) => (!f.family || row.family === f.family) && (!f.dtype || row.dtype === f.dtype) &&
    (!f.device || row.device === f.device) && (fits(row.who) || row.copy));
}

function pick(route, name, values, words = {}) {
  const chosen = route.query.get(name);
  const value = values.includes(chosen) ? chosen : values[0];
  const control = h("select", {"data-pick": name, onchange: (event) => {
    go(parse(location.hash), {[name]: event.target.value});
    document.querySelector(`[data-pick="${name}"]`)?.focus();
  }}, values.map((v) => h("option", {value: v, selected: v === value}, words[v] || v)));
  return [value, values.length > 1 ? h("label", {}, name, control) : null];
}

function speedView(route) {
  const heading = h("h1", {tabindex: "-1"}, "How fast, how large");
  const rows = benchRows(route);
  const timed = rows.filter((row) => row.outcome === "timed");
  if (!timed.length) {
    return [heading, h("p", {class: "empty"}, BENCH.length ? "No measurement fits these filters." : "No benchmarks were given to this site: nll-conformance bench TARGET... --json FILE makes some."), refusals(rows)];
  }
  const [family, familyControl] = pick(route, "of", [...new Set(timed.filter((r) => !r.copy).map((r) => r.family))].concat(timed.every((r) => r.copy) ? [timed[0].family] : []));
  const [dtype, dtypeControl] = pick(route, "in", [...new Set(timed.filter((r) => r.family === family).map((r) => `${r.dtype} ${r.device}`))]);
  const here = timed.filter((r) => (r.family === family || r.copy) && `${r.dtype} ${r.device}` === dtype);
  const [machine, machineControl] = pick(route, "machine", [...new Set(here.map((r) => r.machine))]);
  const there = here.filter((r) => r.machine === machine);
  const [height, heightControl] = pick(route, "rows", [...new Set(there.filter((r) => !r.copy).map((r) => r.rows || "?"))]);
  const mine = there.filter((r) => (r.rows || "?") === height);
  const passes = PASSES.filter((p) => mine.some((r) => r.pass === p && !r.copy));
  const extra = [...new Set(mine.map((r) => r.pass))].filter((p) => !PASSES.includes(p));
  const order = ranked(mine.filter((r) => !r.copy));
  return [heading,
    h("p", {}, "A copy of the logits is what the machine's memory allows; times are multiples of it, measured alternately in the same run. ",
      h("span", {class: "muted"}, `${family}, ${dtype}, ${height} rows, on ${machine}.`)),
    h("div", {class: "controls"}, familyControl, dtypeControl, heightControl, machineControl),
    order.length > LINES ? h("p", {class: "muted"}, `The charts show the ${LINES} fastest of ${order.length}; the text filter chooses others. The table has all.`) : null,
    [...passes, ...extra].map((which) => h("div", {class: "pair"},
      ["ratio_to_copy", "added_bytes_ratio"].flatMap((measure) => overVocabulary(mine, which, order, measure)))),
    scatter(mine, passes.includes("both") ? "both" : passes[passes.length - 1]),
    h("h2", {}, "All measurements"), benchTable(mine), refusals(rows)];
}

/** Names by their ratio at the largest vocabulary, fastest first. */
function ranked(rows) {
  const best = new Map();
  for (const row of rows) {
    const value = row.ratio_to_copy ?? row.time_ms ?? Infinity;
    const seen = best.get(row.who);
    const rank = [-(row.classes || 0), row.pass === "both" ? 0 : 1, value];
    if (!seen || rank[0] < seen[0] || (rank[0] === seen[0] && (rank[1] < seen[1] || (rank[1] === seen[1] && value < seen[2])))) best.set(row.who, rank);
  }
  return [...best.keys()].sort((a, b) => best.get(a)[2] - best.get(b)[2]);
}

function overVocabulary(rows, which, order, measure) {
  const shown = order.slice(0, LINES);
  const values = rows.filter((r) => r.pass === which && shown.includes(r.who) && r[measure] !== null && r.classes)
    .map((r) => ({name: r.who, classes: r.classes, value: r[measure], low: r[`${measure}_low`] ?? null, high: r[`${measure}_high`] ?? null,
      shown: `${figure(r[measure])} ×`, shape: r.shape, verdict: verdictOf(r), time: milliseconds(r.time_ms)}));
  if (!values.length) return [];
  const [axis, title] = MEASURES[measure];
  const all = values.flatMap((v) => [v.low ?? v.value, v.high ?? v.value]);
  const x = {field: "classes", type: "quantitative", scale: {type: "log", nice: false}, title: "classes (vocabulary size, logarithmic)",
    axis: {values: [...new Set(values.map((v) => v.classes))], format: ",d"}};
  const colour = {field: "name", type: "nominal", sort: shown, scale: {domain: shown.filter((n) => values.some((v) => v.name === n))}};
  const y = {field: "value", type: "quantitative", scale: measure === "ratio_to_copy" ? {type: "log", nice: false, domainMin: Math.min(0.9, ...all) * 0.95, domainMax: Math.max(...all) * 1.15} : {zero: true}, title: axis};
  return [chart(`${measure === "ratio_to_copy" ? "Time" : "Memory"}, ${PASS_WORDS[which] || which}`,
    `${title}; lower is better.${values.some((v) => v.low !== null) ? ` Bars: ${intervalOf(rows)} interval of the median.` : ""}`, {
      height: 280,
      layer: [
        ...(measure === "ratio_to_copy" ? [{data: {values: [{}]}, mark: {type: "rule", strokeDash: [2, 3]}, encoding: {y: {datum: 1}}}] : []),
        {data: {values}, mark: {type: "line"}, encoding: {x, y, color: colour, strokeDash: {field: "name", type: "nominal", sort: shown, legend: null}}},
        ...bounded(values).map((known) => ({data: {values: known}, mark: {type: "rule", strokeWidth: 1.5}, encoding: {x, y: {field: "low", type: "quantitative"}, y2: {field: "high"}, color: colour}})),
        {data: {values}, mark: {type: "point", filled: true, size: 60}, encoding: {x, y, color: colour, shape: colour,
          tooltip: [{field: "name", title: "implementation"}, {field: "shape"}, {field: "shown", title: axis}, {field: "time"}, {field: "verdict"}]}},
      ],
    })];
}

/** Those with an interval, as one layer's data or none: a layer without data disturbs the axes. */
function bounded(values) {
  const known = values.filter((v) => v.low !== null && v.high !== null);
  return known.length ? [known] : [];
}

const intervalOf = (rows) => (rows.find((r) => r.interval) || {interval: ""}).interval;
const verdictOf = (row) => (row.copy ? "" : row.subject ? row.subject.verdict : "no verdict on this version");

/** Accuracy against speed: the frontier is what nothing beats in both. */
function scatter(rows, which) {
  const largest = Math.max(...rows.filter((r) => r.pass === which && r.ratio_to_copy !== null && !r.copy).map((r) => r.classes || 0));
  const points = rows.filter((r) => r.pass === which && r.classes === largest && r.ratio_to_copy !== null && !r.copy && r.subject).flatMap((r) => {
    const found = DATA.accuracy.rows.find(([n, dtype, device]) => n === r.subject.number && dtype === r.dtype && device === r.device);
    return found && typeof found[3] === "number" ? [{name: r.who, ratio: r.ratio_to_copy, units: Math.max(found[3], 0.01), letter: found[4], verdict: r.subject.verdict}] : [];
  });
  if (points.length < 2) {
    return h("p", {class: "muted"}, "Accuracy against speed needs two implementations that were judged and timed at the same version or commit, in the same dtype.");
  }
  const frontier = points.filter((p) => !points.some((o) => o.ratio <= p.ratio && o.units <= p.units && (o.ratio < p.ratio || o.units < p.units)));
  for (const point of points) point.place = frontier.includes(point) ? "on the frontier" : "beaten in both";
  const x = {field: "ratio", type: "quantitative", scale: {type: "log", padding: 20}, title: `time / copy, ${PASS_WORDS[which] || which}, ${count(largest)} classes`};
  const y = {field: "units", type: "quantitative", scale: {type: "log", padding: 20}, title: "error in condition units"};
  const verdicts = {domain: ["conforms", "does not conform", "not judged"]};
  return chart("Accuracy against speed", "Lower and further left is better; the line is the frontier: nothing is both faster and more accurate. Names stand at its points.", {
    height: 320,
    layer: [
      {data: {values: frontier}, mark: {type: "line", interpolate: "step-after", strokeDash: [5, 4], strokeWidth: 1.5, color: theme().rule.color}, encoding: {x, y, order: {field: "ratio"}}},
      {data: {values: points}, mark: {type: "point", filled: true, size: 90}, encoding: {x, y,
        color: {field: "verdict", type: "nominal", scale: verdicts}, shape: {field: "verdict", type: "nominal", scale: verdicts}, 
        tooltip: [{field: "name", title: "implementation"}, {field: "ratio", title: "time / copy", format: ".3"}, {field: "units", title: "condition units", format: ".3"}, {field: "letter"}, {field: "verdict"}, {field: "place"}]}},
      {data: {values: frontier}, mark: {type: "text", align: "left", dx: 8, dy: -8, limit: 170}, encoding: {x, y, text: {field: "name"}}},
    ],
  }, table("Accuracy against speed", ["implementation", ["time / copy", "num"], ["condition units", "num"], "letter", "place"],
    points.sort((a, b) => a.ratio - b.ratio).map((p) => [p.name, figure(p.ratio), figure(p.units), grade(p.letter), p.place])));
}

const spread = (row, measure) => (row[`${measure}_low`] === null || row[`${measure}_low`] === undefined ? ""
  : h("span", {class: "muted small"}, ` (${figure(row[`${measure}_low`])} to ${figure(row[`${measure}_high`])})`));

function benchTable(rows) {
  const sorted = [...rows].sort((a, b) => (a.classes || 0) - (b.classes || 0) || PASSES.indexOf(a.pass) - PASSES.indexOf(b.pass) || (a.ratio_to_copy ?? a.time_ms) - (b.ratio_to_copy ?? b.time_ms));
  return [h("p", {class: "small muted"}, "A verdict stands beside a time only if both are of the same version or commit of the implementation."),
  table("All measurements, with absolute figures", ["implementation", "shape", "pass", ["time / copy", "num"], ["time / PyTorch", "num"], ["time", "num"], ["copy", "num"], ["added memory", "num"], ["/ logits", "num"], "verdict on this version", "limits"],
    sorted.slice(0, 400).map((r) => [r.subject ? h("a", {href: toImplementation(r.subject)}, r.who) : r.who, h("span", {class: "whole"}, r.shape.replaceAll("x", " × ")), PASS_WORDS[r.pass] || r.pass,
      [figure(r.ratio_to_copy), spread(r, "ratio_to_copy")], figure(r.ratio_to_torch), milliseconds(r.time_ms), milliseconds(r.copy_time_ms), bytes(r.added_bytes), figure(r.added_bytes_ratio),
      r.copy ? "" : r.subject ? verdictBadge(r.subject.verdict) : h("span", {class: "muted"}, "no verdict"), h("span", {class: "small muted"}, r.limits || "")]), {tall: true}),
  sorted.length > 400 ? h("p", {}, `${sorted.length - 400} more; narrow the filters.`) : null];
}

/** What was not timed, and why: a wrong result is never timed. */
function refusals(rows) {
  const refused = rows.filter((row) => row.outcome !== "timed");
  if (!refused.length) return null;
  return [h("h2", {}, "Not timed"), table("Not timed", ["implementation", "shape", "pass", "dtype", "why", "what"], refused.slice(0, 200).map((r) =>
    [r.who, r.shape, PASS_WORDS[r.pass] || r.pass, `${r.dtype} ${r.device}`, r.outcome === "wrong" ? h("span", {class: "o-fail"}, "✕ wrong result") : r.outcome.replace("_", " "), r.message.slice(0, 300)]))];
}
