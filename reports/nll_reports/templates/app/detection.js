// Detection: which mutant which rule catches, and what other ways of testing catch.

const STATUS = {caught: ["✓", "pass"], "caught elsewhere": ["▲", "expected_failure"], survived: ["✕", "fail"], "not asked": ["○", "none"], spared: ["✓", "pass"], flagged: ["✕", "fail"]};

function statusText(status) {
  const [symbol, style] = STATUS[status] || ["?", "none"];
  return h("span", {class: `o-${style}`}, h("span", {"aria-hidden": "true"}, symbol), " ", status);
}

function detectionView(route) {
  const heading = h("h1", {tabindex: "-1"}, "What the suite catches");
  const D = DATA.detection;
  if (!D) return [heading, h("p", {class: "empty"}, "No self-test was given to this site: nll-conformance selftest --matrix --json FILE makes one.")];
  if (!D.trial) return [heading, scores(D)];
  const f = filtersOf(route);
  const fits = matching(f.q);
  const rows = D.mutants.map(([name, family, kind, status, rule, dtype, cases, seconds, message], number) => ({number, name, family, kind, status, rule, dtype, cases, seconds, message, kills: []}));
  for (const [mutant, rule, alone] of D.kills) rows[mutant].kills.push({rule: D.rules[rule], alone});
  const mine = rows.filter((row) => (!f.family || row.family === f.family) && fits(row.name, ...row.kills.map((k) => k.rule)));
  const mutants = mine.filter((row) => row.kind === "mutant");
  const t = D.trial;
  return [heading,
    h("p", {}, `Mutants are small wrong losses with one real bug each; variants are correct losses written unlike each other. `, h("span", {class: "muted"}, `Profile ${t.profile}, seed ${t.seed}${t.matrix ? ", every rule on every mutant" : ", until a named rule catches it"}.`)),
    scores(D), t.matrix ? [killChart(mutants), alone(mutants)] : h("p", {class: "muted"}, "Which mutants only one rule catches takes selftest --matrix."),
    h("h2", {}, plural(mutants.length, "mutant")), table("Mutants", ["mutant", "family", "status", "first catching rule", "dtype", ["cases", "num"], ["rules", "num"], "what it saw"],
      [...mutants].sort((a, b) => (a.status === "caught") - (b.status === "caught")).map((row) => [row.name, row.family, statusText(row.status), row.rule ? ruleLink(row.rule) : "", row.dtype, row.cases, row.kills.length, h("span", {class: "small muted"}, row.message.slice(0, 160))]), {tall: true}),
    flagged(mine.filter((row) => row.status === "flagged"))];
}

const ruleLink = (rule) => (RULES.some((r) => r.id === rule) ? h("a", {href: address("rule", [rule])}, rule) : rule);

function scores(D) {
  const share = (caught, of) => (of ? `${figure((100 * caught) / of)} %` : "");
  const t = D.trial;
  const rows = [...(t ? [["this suite", t.caught, t.mutants, t.false_alarms, t.variants]] : []), ...D.baselines];
  return [table("Detection score beside other ways of testing", ["way of testing", ["mutants caught", "num"], ["share", "num"], ["correct variants rejected", "num"]],
    rows.map(([name, caught, mutants, rejected, variants]) => [name, `${caught} of ${mutants}`, share(caught, mutants), `${rejected} of ${variants}`])),
  D.baselines.length ? h("p", {class: "small muted"}, "Other ways of testing were tried on cross entropy alone; their variants are those that a grid of plain calls can call.") : null];
}

function killChart(mutants) {
  const values = mutants.flatMap((row) => row.kills.map((k) => ({mutant: row.name, rule: k.rule, theme: k.rule.split(".")[0], alone: k.alone ? "the only rule" : "one of several"})));
  if (!values.length) return null;
  const rules = [...new Set(values.map((v) => v.rule))].sort((a, b) => place(a) - place(b));
  return h("details", {class: "kills"}, h("summary", {}, `Kill matrix: ${plural(mutants.length, "mutant")} × ${plural(rules.length, "rule")}`),
    chart("Kill matrix", "A mark where the rule catches the mutant; triangles where no other one-thing rule does.", {
      width: {step: 11}, autosize: {type: "pad"}, height: {step: 13},
      data: {values}, mark: {type: "point", filled: true, size: 45, opacity: 0.9}, encoding: {
        x: {field: "rule", type: "nominal", sort: rules, title: null, axis: {labelAngle: -90, labelFontSize: 9.5, labelLimit: 220, orient: "top", labelOverlap: false, grid: true}},
        y: {field: "mutant", type: "nominal", title: null, axis: {labelFontSize: 9.5, labelLimit: 260, labelOverlap: false, grid: true}},
        color: {field: "alone", type: "nominal"}, shape: {field: "alone", type: "nominal", scale: {domain: ["one of several", "the only rule"], range: ["circle", "triangle-up"]}},
        tooltip: [{field: "mutant"}, {field: "rule"}, {field: "alone", title: "caught by"}]}}));
}

const place = (rule) => { const at = RULES.findIndex((r) => r.id === rule); return at < 0 ? RULES.length : at; };

function alone(mutants) {
  const by = new Map();
  for (const row of mutants) for (const kill of row.kills) if (kill.alone) by.set(kill.rule, [...(by.get(kill.rule) || []), row.name]);
  if (!by.size) return null;
  return [h("h2", {}, "Caught by one rule alone"), table("Mutants that only one rule catches", ["rule", "mutants"], [...by].map(([rule, names]) => [ruleLink(rule), names.join(", ")]), {tall: true})];
}

function flagged(variants) {
  return variants.length ? [h("h2", {}, "False alarms"), table("Correct variants that were flagged", ["variant", "rule", "what it saw"], variants.map((row) => [row.name, ruleLink(row.rule), row.message]))] : null;
}
