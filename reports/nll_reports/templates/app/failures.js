// Failures: the list, folded by cause, and a page for each.

function failuresView(route) {
  const outcome = route.query.get("outcome");
  const bad = filtered(route).filter((r) => detailOf(r) && (outcome || BAD.includes(r.outcome)));
  const groups = new Map();
  for (const result of bad) {
    const detail = detailOf(result);
    const cause = detail.cause === undefined ? `${result.rule.id} ${detail.message}` : detail.cause;
    const key = `${result.implementation.number} ${cause}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(result);
  }
  const known = filtered(route).filter((r) => r.outcome === "expected_failure").length;
  const rows = [...groups.values()].sort((a, b) => (a[0].level === "should") - (b[0].level === "should"));
  return [
    h("h1", {tabindex: "-1"}, "Failures"),
    h("p", {class: "muted"}, `${plural(bad.length, "result")} in ${plural(rows.length, "cause")}; those of an implementation that look alike are taken to have one. `,
      outcome ? null : [h("a", {href: address("failures", [], {...filtersOf(route), outcome: "expected_failure"})}, `${count(known)} known failures`), " are not listed."]),
    rows.length ? table("Failures by cause", ["implementation", "rule", "dtype", "outcome", "what", ["distance", "num"]], rows.slice(0, 500).map((group) => {
      const first = group[0];
      const detail = detailOf(first);
      const rules = new Set(group.map((r) => r.rule));
      return [h("a", {href: toImplementation(first.implementation)}, first.implementation.label),
        [h("a", {href: toFailure(first)}, first.rule.id), first.level === "should" ? h("span", {class: "should"}, " should") : null,
          rules.size > 1 ? h("div", {class: "small muted"}, `and ${plural(rules.size - 1, "more rule")} of this cause`) : null],
        [...new Set(group.filter((r) => r.rule === first.rule).map((r) => r.dtype))].join(", "),
        outcomeText(first.outcome), h("span", {class: "text"}, (detail.message || detail.reason || "").slice(0, 300)), distance(detail)];
    })) : h("p", {class: "empty"}, RESULTS.length ? "Nothing fails that fits these filters." : "No conformance results were given to this site."),
    rows.length > 500 ? h("p", {}, `${rows.length - 500} more; narrow the filters.`) : null,
  ];
}

const distance = (detail) => (detail.numbers && detail.numbers.times ? `${figure(Number(detail.numbers.times))} × bound` : "");

function failureView(route) {
  const [label, rule, dtype, device] = route.parts;
  const result = RESULTS.find((r) => r.implementation.label === label && r.rule.id === rule && r.dtype === dtype && r.device === device);
  if (!result) return missing("result", route.parts.join(" "));
  const detail = detailOf(result) || {};
  const program = programOf(detail);
  const same = RESULTS.filter((r) => r !== result && r.implementation === result.implementation && detail.cause !== undefined &&
    detailOf(r) && detailOf(r).cause === detail.cause);
  return [
    h("p", {class: "small muted"}, h("a", {href: "#/failures"}, "Failures"), " / ", h("a", {href: toImplementation(result.implementation)}, label)),
    h("h1", {tabindex: "-1"}, rule, " ", h("span", {class: `badge o-${result.outcome === "expected_failure" ? result.outcome : GOOD.includes(result.outcome) ? "pass" : isUnjudged(result.outcome) ? "none" : "fail"}`},
      `${OUTCOMES[result.outcome][0]} ${OUTCOMES[result.outcome][1]}`)),
    h("p", {}, h("a", {href: toImplementation(result.implementation)}, label), `, ${dtype}, ${device}, ${result.level}, ${plural(result.judged, "case")} judged`),
    h("h2", {}, "Expected"),
    h("blockquote", {}, result.rule.sentence),
    h("p", {class: "small"}, result.rule.source ? ["Says: ", result.rule.source, " "] : null, h("a", {href: toRule(result.rule)}, "all implementations under this rule")),
    h("h2", {}, "Came"),
    detail.numbers ? comparison(detail.numbers) : null,
    h("p", {class: "message mono"}, detail.message || result.reason || OUTCOMES[result.outcome][1]),
    detail.reason && detail.reason !== detail.message ? [h("h2", {}, "Why it is known"), h("p", {}, detail.reason)] : null,
    detail.link ? h("p", {}, "Discussed: ", outward(detail.link)) : null,
    detail.case ? [h("h2", {}, "Smallest case"), facts(detail.case)] : null,
    program ? [h("h2", {}, "Program that shows it"), code(program, "program")] : null,
    detail.cut ? h("p", {class: "empty"}, "The program was left out to keep this page small; the results file has it.") : null,
    detail.replay ? [h("h2", {}, "Judge it again"), code(detail.replay, "command", true)] : null,
    same.length ? [h("h2", {}, "Taken to have the same cause"), h("ul", {}, same.slice(0, 40).map((r) =>
      h("li", {}, h("a", {href: toFailure(r)}, `${r.rule.id}, ${r.dtype}, ${r.device}`)))),
    same.length > 40 ? h("p", {}, `and ${same.length - 40} more`) : null] : null,
  ];
}

/** Expected against got, and how many bounds lie between, on a logarithmic scale. */
function comparison(numbers) {
  const times = Number(numbers.times);
  const pairs = [["entry", numbers.what], ["expected", numbers.want], ["got", numbers.got], ["off by", numbers.off],
    ["allowed (bound)", numbers.bound], ["distance", numbers.times && `${figure(times)} × bound`],
    ["wrong entries", numbers.wrong && `${count(numbers.wrong)} of ${count(numbers.of)}`]];
  const shown = h("dl", {class: "compare"}, pairs.filter(([, value]) => value).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  if (!(times > 0) || !Number.isFinite(times)) return shown;
  const low = -2;
  const high = Math.max(2, Math.ceil(Math.log10(times)) + 1);
  const at = (power) => `${((100 * (power - low)) / (high - low)).toFixed(1)}%`;
  return [shown, h("div", {class: "gauge", role: "img", "aria-label": `The error is ${figure(times)} times the bound`},
    h("div", {class: "track", style: `--one: ${at(0)}`}, h("span", {class: "at", style: `left: ${at(Math.log10(times))}`})),
    h("div", {class: "ends"}, h("span", {}, "0.01 × bound"), h("span", {}, "logarithmic; allowed up to the change of colour"), h("span", {}, `${figure(10 ** high)} × bound`)))];
}
