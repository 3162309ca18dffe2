"use strict";
// Texts of data become text nodes and never markup; numbers go into SVG attributes only.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const POINTS = 25, COARSE = 5, MAX_ROWS = 1000, REASONS = 6;
let about = null, last = null, turn = 0, curveTurn = 0;

function make(tag, attributes = {}, ...children) {
  const node = ["svg", "line", "rect", "path", "circle", "text", "title"].includes(tag)
    ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.map((one) => (one instanceof Node ? one : String(one))));
  return node;
}

function shown(value) {
  if (value === null || value === undefined) return "missing";
  return typeof value === "number" ? Number(value.toPrecision(5)).toString() : String(value);
}

class Refused extends Error {
  constructor(problem, status) {
    super(problem.detail || `The server answered ${status}.`);
    this.problem = problem;
    this.status = status;
  }
}

async function call(path, body) {
  const headers = {};
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Refused({ detail: "The server does not answer." }, 0);
  }
  const found = await response.json().catch(() => ({}));
  if (response.status === 401 || response.status === 403) $("key-field").hidden = false;
  if (!response.ok) throw new Refused(found, response.status);
  return found;
}

function complain(error) {
  if (!(error instanceof Refused)) throw error;
  $("problem").hidden = false;
  const errors = (error.problem.errors || []).map((one) => (one.field ? `${one.field}: ${one.detail}` : one.detail));
  $("problem").textContent = errors.length ? errors.join("; ") : error.message;
  for (const one of error.problem.errors || []) {
    const input = [...$("fields").querySelectorAll("input, select")].find((field) => field.name === one.field);
    if (input) input.setAttribute("aria-invalid", "true");
  }
}

const base = () => `v1/${encodeURIComponent($("pipeline").value)}`;
const predictPath = () => `${base()}/versions/${encodeURIComponent($("version").value)}/predict`;

function columns() {
  const resolved = (one) => (one.$ref ? about.schema.$defs[one.$ref.split("/").pop()] : one);
  const row = resolved(resolved(about.schema).properties.rows.items);
  return Object.entries(row.properties).map(([name, found]) => {
    const kinds = found.anyOf || [found];
    const kind = kinds.find((one) => one.type !== "null");
    const word = kind.format === "date" ? "date" : kind.format === "date-time" ? "timestamp" : kind.type;
    return { name, word, nullable: kinds.some((one) => one.type === "null"), rules: about.constraints.columns[name] || {} };
  });
}

function field(column, value) {
  const { name, word, nullable, rules } = column;
  const { min, max } = rules;
  const range = min === undefined ? `up to ${max}` : max === undefined ? `from ${min}` : `${min} to ${max}`;
  const hint = min !== undefined || max !== undefined ? range : nullable ? "may be empty" : "";
  let input;
  if (word === "boolean" || rules.allowed) {
    const choices = rules.allowed || [true, false];
    input = make("select", { name }, ...(nullable ? [make("option", { value: "" }, "missing")] : []),
      ...choices.map((one) => make("option", { value: one }, one)));
    if (value !== null && value !== undefined && !choices.includes(value)) input.append(make("option", { value }, value));
  } else {
    const type = { integer: "number", number: "number", date: "date" }[word] || "text";
    input = make("input", { name, type, ...(type === "number" ? { step: "any", inputmode: "decimal" } : {}) });
    if (word === "timestamp") input.placeholder = "2013-01-31T05:00:00";
  }
  input.value = value ?? "";
  return make("label", {}, name, make("span", {}, hint), input);
}

function typed(column, text) {
  if (text === "" && (column.nullable || column.word !== "string")) return null;
  if (column.word === "integer" || column.word === "number") return Number(text);
  return column.word === "boolean" ? text === "true" : text;
}

function row() {
  return Object.fromEntries(columns().map((column) => [column.name, typed(column, $("row").elements.namedItem(column.name).value)]));
}

function curl(path, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const key = $("key").value ? " \\\n  -H \"Authorization: Bearer $API_KEY\"" : "";
  return `curl '${new URL(path, document.baseURI)}'${key} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
}

function showAnswer(answer) {
  const version = about.versions[answer.versions[0]] || {};
  const score = answer.scores[0];
  const parts = version.kind === "regression"
    ? [make("p", { class: "score" }, shown(score), " ", make("small", {}, version.target))]
    : [make("p", { class: "score" }, `${version.target} = ${answer.decisions[0]} `, make("small", {}, `probability ${shown(score)}`))];
  if (answer.threshold !== undefined && answer.threshold !== null) {
    const side = score >= answer.threshold ? "at or above" : "below";
    parts[0].lastChild.textContent = `probability of 1: ${shown(score)}`;
    parts.push(make("p", { class: "hint" }, `${side} the threshold of ${shown(answer.threshold)}, from which the decision is 1`));
  }
  if (answer.probabilities) {
    parts.push(table(["class", "probability"], answer.classes.map((name, at) => [name, answer.probabilities[0][at]])));
  }
  for (const one of answer.warnings || []) parts.push(make("p", { class: "hint" }, `Warning: ${one.field} ${one.rule}`));
  parts.push(make("p", { class: "hint" }, `version ${answer.versions[0]}, request ${answer.id}`));
  $("answer").replaceChildren(...parts);
}

function table(heads, rows) {
  const cell = (one) => one instanceof Node ? make("td", {}, one) : make("td", typeof one === "number" ? { class: "number" } : {}, shown(one));
  const numeric = (at) => rows.length && typeof rows[0][at] === "number" ? { class: "number" } : {};
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head, at) => make("th", { scope: "col", ...numeric(at) }, head)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", cells.own ? { class: "own" } : {}, ...cells.map(cell)))));
}

function showReasons(reasons) {
  const most = Math.max(...reasons.map((one) => Math.abs(one.effect)), 1e-12);
  const bar = (effect) => {
    const width = (48 * Math.abs(effect)) / most;
    return make("svg", { viewBox: "0 0 100 12", role: "img", "aria-label": effect > 0 ? "raises the score" : "lowers the score" },
      make("line", { x1: 50, x2: 50, y1: 0, y2: 12, class: "axis" }),
      make("rect", { x: effect > 0 ? 50 : 50 - width, y: 2, width, height: 8, class: effect > 0 ? "up" : "down" }));
  };
  const sign = (effect) => (effect > 0 ? "+" : effect < 0 ? "\u2212" : "") + Number(Math.abs(effect).toPrecision(3));
  const rows = reasons.map((one) => [one.feature, shown(one.value), make("span", { class: "number" }, sign(one.effect)), bar(one.effect)]);
  $("reasons").replaceChildren(table(["feature", "value", "effect", "lowers | raises"], rows));
}

function variants(column, value, points) {
  const { min, max, allowed } = column.rules;
  if (allowed) return allowed;
  if (column.word === "boolean") return [true, false];
  const middle = value ?? 0, reach = Math.max(Math.abs(middle), 1);
  const from = min ?? (middle >= 0 ? Math.max(0, middle - reach) : middle - reach), to = max ?? middle + reach;
  const grid = Array.from({ length: points }, (_, at) => from + ((to - from) * at) / (points - 1));
  const values = column.word === "integer" ? grid.map(Math.round) : grid;
  return [...new Set([...values, ...(value === null ? [] : [value])])].sort((one, other) => one - other);
}

function changed(column, points) {
  const { row } = last;
  return variants(column, row[column.name], points).map((value) => ({ column: column.name, value, row: { ...row, [column.name]: value } }));
}

async function scored(rows) {
  // The server names a row that it cannot compute: such a value is left out of the curve.
  let left = rows;
  while (left.length) {
    try {
      const answer = await call(last.path, { rows: left.map((one) => one.row) });
      return left.map((one, at) => ({ ...one, score: answer.scores[at], decision: answer.decisions[at] }));
    } catch (error) {
      const at = error instanceof Refused && error.status === 422 && error.problem.errors?.[0]?.row;
      if (!Number.isInteger(at)) throw error;
      left = left.filter((_, position) => position !== at);
    }
  }
  return [];
}

async function showCurve() {
  const mine = ++curveTurn, column = columns().find((one) => one.name === $("column").value);
  if (!column || !last) return;
  const own = last.row[column.name];
  try {
    const found = await scored(changed(column, POINTS));
    if (mine !== curveTurn) return;
    const isNumber = column.word === "integer" || column.word === "number";
    const rows = found.map((one) => Object.assign([shown(one.value), one.score, one.decision], { own: one.value === own }));
    const full = table([column.name, "score", "decision"], rows);
    $("curve").replaceChildren(...(isNumber && found.length > 1
      ? [drawn(found, own, column.name), make("p", { class: "hint" }, turns(found, own)), make("details", {}, make("summary", {}, "Table"), full)]
      : [full]));
  } catch (error) {
    complain(error);
  }
}

function turns(found, own) {
  if (last.answer.threshold === undefined && !last.answer.classes) return "";
  const at = found.findIndex((one) => one.value === own);
  if (at < 0) return "";
  const after = found.slice(at).find((one) => one.decision !== found[at].decision);
  const before = found.slice(0, at).reverse().find((one) => one.decision !== found[at].decision);
  const told = [after && `rises to ${shown(after.value)}`, before && `falls to ${shown(before.value)}`].filter(Boolean);
  return told.length ? `The decision changes where it ${told.join(", or ")}.` : "The decision stays the same on this range.";
}

function drawn(found, own, name) {
  const [width, height, edge] = [420, 170, 42];
  const values = found.map((one) => one.value), scores = found.map((one) => one.score);
  const threshold = last.answer.threshold ?? null;
  const marks = threshold === null ? scores : [...scores, threshold];
  let [low, high] = [Math.min(...marks), Math.max(...marks)];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const x = (value) => edge + ((width - edge - 8) * (value - values[0])) / (values.at(-1) - values[0] || 1);
  const y = (score) => 20 + ((height - 50) * (high - score)) / (high - low);
  const path = found.map((one, at) => `${at ? "L" : "M"}${x(one.value)} ${y(one.score)}`).join("");
  const text = (at, to, anchor, what) => make("text", { x: at, y: to, "text-anchor": anchor }, what);
  const here = found.find((one) => one.value === own);
  return make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Score by ${name}` },
    make("line", { x1: edge, x2: width - 8, y1: height - 30, y2: height - 30, class: "axis" }),
    ...(threshold === null ? [] : [
      make("line", { x1: edge, x2: width - 8, y1: y(threshold), y2: y(threshold), class: "threshold" }),
      text(width - 8, y(threshold) - 4, "end", "threshold")]),
    make("path", { d: path, class: "curve" }),
    ...(here ? [make("circle", { cx: x(own), cy: y(here.score), r: 5, class: "here" })] : []),
    text(edge - 4, y(high) + 4, "end", Number(high.toPrecision(2))), text(edge - 4, y(low) + 4, "end", Number(low.toPrecision(2))),
    text(edge, height - 14, "start", shown(values[0])), text(width - 8, height - 14, "end", shown(values.at(-1))),
    text((edge + width) / 2, height - 4, "middle", name));
}

async function predict(event) {
  event?.preventDefault();
  const mine = ++turn, path = predictPath();
  $("problem").hidden = true;
  for (const one of $("fields").querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  const values = row();
  try {
    const answer = await call(`${path}?explain=${REASONS}`, { rows: [values] });
    if (mine !== turn) return;
    last = { row: values, answer, path };
    showAnswer(answer);
    showReasons(answer.explanations?.[0] || []);
    $("curl").textContent = curl(path, { rows: [values] });
    $("more").hidden = false;
    await choices();
    await showCurve();
  } catch (error) {
    complain(error);
  }
}

async function choices() {
  // The column that moves the score most comes first, unless one was chosen.
  const kept = $("column").value;
  const usable = columns().filter((one) => ["integer", "number", "boolean"].includes(one.word) || one.rules.allowed);
  const names = usable.map((one) => one.name);
  $("column").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  if (names.includes(kept)) {
    $("column").value = kept;
    return;
  }
  const found = await scored(usable.flatMap((one) => changed(one, COARSE)).slice(0, MAX_ROWS));
  const reach = (name) => {
    const scores = found.filter((one) => one.column === name).map((one) => one.score);
    return Math.max(...scores) - Math.min(...scores);
  };
  $("column").value = names.reduce((best, name) => (reach(name) > reach(best) ? name : best), names[0] || "");
}

function fill() {
  $("fields").replaceChildren(...columns().map((column) => field(column, (about.example || {})[column.name])));
}

async function choosePipeline() {
  $("problem").hidden = true;
  try {
    about = await call(base());
    const roles = (version) => Object.entries(about.aliases).filter(([, number]) => number === version).map(([role]) => role);
    $("version").replaceChildren(...Object.keys(about.versions).map((one) => make("option", { value: one }, [one, ...roles(one)].join(", "))));
    $("version").value = about.aliases.champion;
    $("column").replaceChildren();
    fill();
    if (about.example) await predict();
  } catch (error) {
    complain(error);
  }
}

async function start() {
  try {
    const names = Object.keys((await call("v1")).pipelines);
    $("pipeline").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    await choosePipeline();
  } catch (error) {
    complain(error);
  }
}

$("pipeline").addEventListener("change", choosePipeline);
$("version").addEventListener("change", () => predict());
$("row").addEventListener("submit", predict);
$("again").addEventListener("click", () => { fill(); predict(); });
$("column").addEventListener("change", showCurve);
$("key").addEventListener("change", start);
$("copy").addEventListener("click", () => navigator.clipboard.writeText($("curl").textContent));
start();
