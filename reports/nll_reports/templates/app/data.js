// The embedded data, unpacked once: results as objects, with what the filters ask for.

const DATA = JSON.parse(document.getElementById("data").textContent);
const M = DATA.matrix;
const IMPLEMENTATIONS = M.implementations;
const RULES = M.rules;
RULES.forEach((rule, number) => { rule.number = number; rule.theme = rule.id.split(".")[0]; });

// Two families may each have an implementation of one name: then the family is part of the label.
const labelOf = (name, family, all) =>
  all.filter((other) => other[0] === name).length > 1 ? `${name} [${family}]` : name;
{
  const all = IMPLEMENTATIONS.map((item) => [item.name, item.family]);
  IMPLEMENTATIONS.forEach((item, number) => {
    item.number = number;
    item.label = labelOf(item.name, item.family, all);
    item.results = [];
  });
}

const R = M.results;
const RESULTS = R.i.map((i, number) => {
  const result = {
    number,
    implementation: IMPLEMENTATIONS[i],
    rule: RULES[R.r[number]],
    dtype: M.dtypes[R.d[number]],
    device: M.devices[R.v[number]],
    outcome: M.outcomes[R.o[number]],
    level: R.q[number] ? "should" : "must",
    judged: R.n[number],
    error: R.e[number],
    reason: M.reasons[R.w[number]],
  };
  result.implementation.results.push(result);
  return result;
});

// Themes of one family alone come last.
const breadth = (name) => new Set(RESULTS.filter((r) => r.rule.theme === name).map((r) => r.implementation.family)).size;
const FAMILIES = new Set(IMPLEMENTATIONS.map((item) => item.family)).size;
const THEMES = [...new Set(RULES.map((rule) => rule.theme))]
  .map((name) => [name, FAMILIES > 1 && breadth(name) === 1 ? 1 : 0]).sort((a, b) => a[1] - b[1]).map(([name]) => name);

const detailOf = (result) => DATA.failures.details[result.number];
const programOf = (detail) => DATA.failures.texts[detail.program || 0];
const byLabel = (label) => IMPLEMENTATIONS.find((item) => item.label === label);
const isUnjudged = (outcome) => ["unsupported", "inconclusive", "not_run"].includes(outcome);

/** The mark of several results: the gravest outcome; nothing judged only if all are. */
function gravest(outcomes) {
  return GRAVITY.find((outcome) => outcomes[outcome]);
}

function tally(results) {
  const counts = {};
  for (const result of results) counts[result.outcome] = (counts[result.outcome] || 0) + 1;
  return counts;
}
