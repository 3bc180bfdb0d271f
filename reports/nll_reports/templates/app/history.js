// History: runs, verdicts gained and lost, series with their shifts, the detection score.

const H = DATA.history;
const T = H.texts;
const METRIC_WORDS = {ratio_to_copy: "time / copy", added_bytes: "added memory", error_units: "error in condition units"};
const SERIES = H.series.map(([key, metric, points], number) => ({
  number, key: Object.fromEntries(H.series_keys.map((name, place) => [name, T[key[place]]])), metric: T[metric],
  points: points.map(([run, value, low, high]) => ({run, value, low, high})),
}));
const SHIFTS = H.shifts.map((shift) => ({...shift, key: Object.fromEntries(H.series_keys.map((name, place) => [name, T[shift.series[place]]])), metric: T[shift.metric]}));
const shownValue = (metric, value) => (metric === "added_bytes" ? bytes(value) : figure(value));
const runName = (number) => commit(H.runs[number].subject_commit) || day(H.runs[number].started_at) || `run ${number + 1}`;

function historyView(route) {
  const f = filtersOf(route);
  const fits = matching(f.q);
  const mine = (key) => (!f.family || key.family === f.family) && fits(key.implementation);
  const heading = h("h1", {tabindex: "-1"}, "Since when");
  if (route.parts[0] === "run") return runView(route, Number(route.parts[1]));
  const several = H.runs.length > 1;
  return [heading,
    several ? null : h("p", {class: "empty"}, "Only one run is known. nll-conformance report ... --history DIR keeps one file for each run and shows them here."),
    shiftsTable(SHIFTS.filter((s) => mine(s.key))),
    seriesCharts(route, SERIES.filter((s) => mine(s.key))),
    verdictChart(route, mine), detectionChart(),
    h("h2", {}, plural(H.runs.length, "run")), runsTable()];
}

function shiftsTable(shifts) {
  const worse = shifts.filter((s) => s.factor[0] > 1);
  const better = shifts.filter((s) => s.factor[0] <= 1);
  const rows = [...worse, ...better].slice(0, 200);
  const title = `${plural(worse.length, "regression")}, ${plural(better.length, "improvement")}`;
  if (!rows.length) return SERIES.length ? h("p", {}, "No measurement got worse or better by more than its intervals and 5 % allow.") : null;
  return [h("h2", {}, title), h("p", {class: "muted small"}, "A step is told if the interval of a run is more than 5 % apart from that of the level before it, on one machine, and the run after it, where there is one, agrees. Memory is known to 128 KiB; accuracy is exact."),
    table(title, ["", "implementation", "what", "where", ["factor", "num"], ["interval", "num"], ["from, to", "num"], "commits"], rows.map((s) => [
      s.factor[0] > 1 ? h("span", {class: "o-fail"}, "▲ worse") : h("span", {class: "o-pass"}, "▼ better"), s.key.implementation, METRIC_WORDS[s.metric],
      [s.key.dtype, s.key.device, s.key.shape, s.key.pass, `on ${s.key.machine}`].filter(Boolean).join(" "), `${figure(s.factor[0])} ×`,
      s.factor[1] === s.factor[2] ? "exact" : `${figure(s.factor[1])} to ${figure(s.factor[2])}`, `${shownValue(s.metric, s.values[0])}, ${shownValue(s.metric, s.values[1])}`,
      [s.runs.map((r, i) => [i ? " … " : "", h("a", {href: address("history", ["run", String(r)])}, runName(r))]), s.confirmed ? null : h("span", {class: "should"}, " not yet confirmed")]]), {tall: true}),
    shifts.length > 200 ? h("p", {}, `${shifts.length - 200} more; narrow the filters.`) : null];
}

function seriesCharts(route, all) {
  const long = all.filter((s) => s.points.length > 1);
  if (!long.length) return null;
  const [metric, metricControl] = pick(route, "metric", [...new Set(long.map((s) => s.metric))], METRIC_WORDS);
  const setting = (s) => [s.key.family, s.key.dtype, s.key.device, s.key.shape.replaceAll("x", " × "), s.key.pass, s.key.machine].filter(Boolean).join(", ");
  const measured = long.filter((s) => s.metric === metric);
  const [where, whereControl] = pick(route, "setting", [...new Set(measured.map(setting))]);
  const lines = measured.filter((s) => setting(s) === where);
  const last = (s) => s.points[s.points.length - 1].value;
  const shown = [...lines].sort((a, b) => last(a) - last(b)).slice(0, LINES);
  const names = shown.map((s) => s.key.implementation);
  const values = shown.flatMap((s) => s.points.map((p) => ({name: s.key.implementation, place: p.run, commit: runName(p.run), when: day(H.runs[p.run].started_at), value: p.value, low: p.low, high: p.high, shown: shownValue(metric, p.value)})));
  const steps = SHIFTS.filter((s) => s.metric === metric && setting(s) === where && names.includes(s.key.implementation))
    .map((s) => ({name: s.key.implementation, place: s.runs[1], value: s.values[1], direction: s.factor[0] > 1 ? "worse" : "better", range: s.runs.map(runName).join(" … "), factor: `${figure(s.factor[0])} × (${figure(s.factor[1])} to ${figure(s.factor[2])})`}));
  const x = runAxis(values.map((v) => v.place));
  const y = {field: "value", type: "quantitative", title: metric === "added_bytes" ? "added memory, bytes" : METRIC_WORDS[metric], scale: {zero: false, nice: true}, axis: {format: "~s"}};
  const colour = {field: "name", type: "nominal", sort: names, scale: {domain: names}};
  return [h("h2", {}, "Measurements"), h("div", {class: "controls"}, metricControl, whereControl),
    chart(METRIC_WORDS[metric], `${where}. Lower is better; band: interval; triangles: steps that the intervals say are real.${lines.length > LINES ? ` The ${LINES} smallest of ${lines.length}; the text filter chooses others.` : ""}`, {
      height: 300,
      layer: [
        ...bounded(values).map((known) => ({data: {values: known}, mark: {type: "area", opacity: 0.18, line: false}, encoding: {x, y: {field: "low", type: "quantitative", scale: {zero: false}}, y2: {field: "high"}, color: colour}})),
        {data: {values}, mark: {type: "line"}, encoding: {x, y, color: colour, strokeDash: {field: "name", type: "nominal", sort: names, legend: null}}},
        ...(values.length <= 120 ? [{data: {values}, mark: {type: "point", filled: true, size: 40}, encoding: {x, y, color: colour, shape: colour, tooltip: [{field: "name", title: "implementation"}, {field: "commit"}, {field: "when"}, {field: "shown", title: METRIC_WORDS[metric]}]}}] : []),
        ...["worse", "better"].map((direction) => [direction, steps.filter((s) => s.direction === direction)]).filter(([, some]) => some.length).map(([direction, some]) => ({data: {values: some}, mark: {type: "point", filled: true, size: 130, opacity: 1, shape: direction === "worse" ? "triangle-up" : "triangle-down", color: theme().text.color}, encoding: {x, y, tooltip: [{field: "name", title: "implementation"}, {field: "direction"}, {field: "factor"}, {field: "range", title: "commits"}]}})),
      ],
    }, table(METRIC_WORDS[metric], ["implementation", "run", ["value", "num"], ["interval", "num"]], values.slice(-300).map((v) => [v.name, v.commit, v.shown, v.low === null ? "" : `${figure(v.low)} to ${figure(v.high)}`]), {tall: true}))];
}

/** Runs along the axis, equally far apart, named by commit. */
function runAxis(places) {
  const named = Object.fromEntries([...new Set(places)].map((place) => [place, runName(place)]));
  return {field: "place", type: "quantitative", title: "runs, oldest to newest", scale: {nice: false, zero: false, padding: 8},
    axis: {values: spaced(Object.keys(named).map(Number), innerWidth < 640 ? 3 : 7), labelExpr: `(${JSON.stringify(named)})[datum.value] || ''`}};
}

function spaced(values, most) {
  if (values.length <= most) return values;
  return Array.from({length: most}, (_, i) => values[Math.round((i * (values.length - 1)) / (most - 1))]);
}

function verdictChart(route, mine) {
  const rows = H.counts.map(([run, name, family, passed, failed, should, known, unjudged]) => ({run, implementation: T[name], family: T[family], passed, failed, should, known, unjudged})).filter(mine);
  const runs = [...new Set(rows.map((row) => row.run))].sort((a, b) => a - b);
  if (runs.length < 2) return null;
  const kinds = ["fail (must)", "fail (should)", "known failure", "not judged"];
  const values = runs.flatMap((run) => {
    const here = rows.filter((row) => row.run === run);
    const sum = (key) => here.reduce((all, row) => all + row[key], 0);
    return [sum("failed"), sum("should"), sum("known"), sum("unjudged")].map((number, place) => ({place: run, commit: runName(run), kind: kinds[place], number}));
  });
  const x = runAxis(runs);
  const colour = {field: "kind", type: "nominal", scale: {domain: kinds}};
  return [h("h2", {}, "Verdicts"), chart("Results that are no pass", "Over all implementations that fit the filters.", {
    height: 220,
    layer: [{data: {values}, mark: {type: "line", interpolate: "step-after"}, encoding: {x, y: {field: "number", type: "quantitative", title: "results"}, color: colour, strokeDash: {...colour, legend: null}}},
      ...(values.length <= 160 ? [{data: {values}, mark: {type: "point", filled: true, size: 40}, encoding: {x, y: {field: "number", type: "quantitative"}, color: colour, shape: colour, tooltip: [{field: "kind"}, {field: "number", title: "results"}, {field: "commit"}]}}] : [])],
  }, table("Results that are no pass", ["run", ...kinds.map((kind) => [kind, "num"])], runs.map((run) => [runName(run), ...values.filter((v) => v.place === run).map((v) => count(v.number))]), {tall: true}))];
}

function detectionChart() {
  if (H.trials.length < 2) return null;
  const values = H.trials.map(([run, caught, mutants, alarms]) => ({place: run, commit: runName(run), share: (100 * caught) / mutants, shown: `${caught} of ${mutants}`, alarms}));
  return chart("Detection score", "Mutants that the self-test caught, in percent.", {
    height: 160, data: {values}, mark: {type: "line", point: true}, encoding: {x: runAxis(values.map((v) => v.place)),
      y: {field: "share", type: "quantitative", title: "caught, %", scale: {zero: false}}, tooltip: [{field: "commit"}, {field: "shown", title: "caught"}, {field: "alarms", title: "false alarms"}]},
  }, table("Detection score", ["run", ["caught", "num"], ["false alarms", "num"]], values.map((v) => [v.commit, v.shown, v.alarms])));
}

function runsTable() {
  const rows = H.runs.map((run, number) => ({run, number})).reverse();
  return table("Runs, newest first", ["run", "when (UTC)", "kind", "machine", "profile", ["lost", "num"], ["gained", "num"], "state"], rows.map(({run, number}) => [
    h("a", {href: address("history", ["run", String(number)])}, runName(number)), day(run.started_at), run.kind, run.machine || "", run.profile || "",
    run.lost ? h("span", {class: "o-fail"}, `▼ ${run.lost}`) : run.kind === "results" ? "0" : "", run.gained ? h("span", {class: "o-pass"}, `▲ ${run.gained}`) : run.kind === "results" ? "0" : "",
    run.complete ? "complete" : h("strong", {class: "o-fail"}, "cut short")]), {tall: true});
}

function runView(route, number) {
  const run = H.runs[number];
  if (!run) return missing("run", route.parts[1]);
  const moved = H.changes.filter(([, after]) => after === number).map(([before, , ...words]) => {
    const [implementation, rule, dtype, device, was, now, direction] = words.map((w) => T[w]);
    return {before, implementation, rule, dtype, device, was, now, direction};
  });
  const words = {lost: ["▼ lost", "o-fail"], gained: ["▲ gained", "o-pass"], changed: ["changed", ""]};
  return [h("p", {class: "small muted"}, h("a", {href: "#/history"}, "History")),
    h("h1", {tabindex: "-1"}, `Run ${runName(number)}`, run.complete ? null : h("span", {class: "badge o-fail"}, "cut short")),
    facts([["kind", run.kind], ["started", run.started_at], ["commit", run.subject_commit], ["machine", run.machine], ["profile", run.profile],
      ["rules", run.rules], ["suite", run.suite_version], ["specification", run.spec_version], ["torch", run.torch]]),
    h("h2", {}, run.changed ? `${plural(run.changed, "verdict")} differ from the run before` : "No verdict differs from the run before"),
    moved.length ? table("Verdicts that differ", ["implementation", "rule", "dtype", "was", "is", "", "run before"], moved.map((c) => [c.implementation,
      RULES.some((r) => r.id === c.rule) ? h("a", {href: address("rule", [c.rule])}, c.rule) : c.rule, `${c.dtype} ${c.device}`, outcomeText(c.was), outcomeText(c.now),
      h("span", {class: words[c.direction][1]}, words[c.direction][0]), h("a", {href: address("history", ["run", String(c.before)])}, runName(c.before))]), {tall: true}) : null,
    run.changed > moved.length ? h("p", {}, `${run.changed - moved.length} more are not listed.`) : null];
}
