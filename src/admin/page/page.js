"use strict";
// The page of a running gateway. It asks /api/v1 and nothing else. What comes from there may hold anything that a stranger
// has put into a SIP header: it goes into the page as text, never as markup.

const API = "/api/v1";
// Time between two looks at what changes by itself.
const REFRESH_MS = 2000;
// Height of a row, as page.css has it.
const ROW_PX = 28;
// Rows that are drawn above and below those that are seen.
const SPARE_ROWS = 8;
// The most rows that a table is given: the most calls and records that are asked for.
const CALLS_MAX = 10000;
const RECORDS_MAX = 10000;
const TRACED_MAX = 1000;
// Records of one answer.
const PAGE_ROWS = 64;

const by = (id) => document.getElementById(id);

// An element with attributes and children; strings become text.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

// Asking -------------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, body) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  // There are no cookies: what the browser shows of its own is a certificate, if it has one.
  const options = { headers, cache: "no-store", credentials: "same-origin" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const response = await fetch(API + path, options);
  const value = await response.json().catch(() => ({ error: `an answer that is no JSON (${response.status})` }));
  if (!response.ok) throw new Refused(response.status, value.error || `refused with ${response.status}`);
  return value;
}

function askForToken(wrong) {
  const dialog = by("ask");
  by("ask-wrong").textContent = wrong;
  if (dialog.open) return;
  by("ask-token").value = "";
  dialog.showModal();
}

function tokenGiven(event) {
  event.preventDefault();
  sessionStorage.setItem("token", by("ask-token").value.trim());
  by("ask").close();
  show();
}

// Words --------------------------------------------------------------------------------------------------------------

function count(number) {
  return number === null || number === undefined ? "" : Number(number).toLocaleString("en");
}

// Seconds as the command line shows them.
function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => seconds >= size);
  const [below, small] = { d: [3600, "h"], h: [60, "min"], min: [1, "s"] }[unit];
  return `${Math.floor(seconds / size)} ${unit} ${Math.floor((seconds % size) / below)} ${small}`;
}

// A time of the API, to the second.
function time(text) {
  return text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "Z") : "";
}

// Tables -------------------------------------------------------------------------------------------------------------

// A table of which only the rows that are seen are drawn. Columns are { head, width, cell(row), number, mark(row) }.
class Grid {
  constructor(label, columns, { key = (row) => row, open = null, chosen = () => {}, nearEnd = () => {} } = {}) {
    Object.assign(this, { columns, key, open, chosen, nearEnd, rows: [], shown: [], selected: -1, words: "" });
    const widths = columns.map((column) => {
      const col = make("col");
      col.style.width = `${column.width}%`;
      return col;
    });
    const heads = columns.map((column) => make("th", { scope: "col", class: column.number ? "number" : null }, column.head));
    this.body = make("tbody");
    this.table = make("table", { role: "grid", tabindex: 0, "aria-label": label, onkeydown: (event) => this.pressed(event) },
      make("colgroup", {}, widths), make("thead", {}, make("tr", {}, heads)), this.body);
    this.element = make("div", { class: "grid", tabindex: -1, onscroll: () => this.later() }, this.table);
    this.body.addEventListener("click", (event) => this.clicked(event, false));
    this.body.addEventListener("dblclick", (event) => this.clicked(event, true));
    this.id = `grid-${Grid.made = (Grid.made || 0) + 1}`;
  }

  set(rows) {
    this.rows = rows;
    this.filter(this.words);
  }

  // Only rows that hold these words stay.
  filter(words) {
    const kept = this.row();
    this.words = words.toLowerCase();
    const holds = (row) => this.columns.some((column) => String(column.cell(row)).toLowerCase().includes(this.words));
    this.shown = this.words ? this.rows.filter(holds) : this.rows;
    this.selected = kept ? this.shown.findIndex((row) => this.key(row) === this.key(kept)) : -1;
    this.table.setAttribute("aria-rowcount", this.shown.length + 1);
    this.draw();
    if (kept && this.selected < 0) this.chosen(null);
  }

  row() {
    return this.shown[this.selected] || null;
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      this.draw();
    });
  }

  draw() {
    const seen = Math.ceil((this.element.clientHeight || 600) / ROW_PX);
    const most = Math.max(0, this.shown.length - seen);
    const first = Math.max(0, Math.min(Math.floor(this.element.scrollTop / ROW_PX), most) - SPARE_ROWS);
    const last = Math.min(this.shown.length, first + seen + 2 * SPARE_ROWS);
    const gap = (rows) => {
      const cell = make("td", { colspan: this.columns.length });
      cell.style.height = `${rows * ROW_PX}px`;
      return make("tr", { class: "gap", "aria-hidden": "true" }, cell);
    };
    const rows = this.shown.slice(first, last).map((row, place) => this.line(row, first + place));
    if (!this.shown.length) rows.push(make("tr", {}, make("td", { colspan: this.columns.length, class: "quiet" }, "none")));
    this.body.replaceChildren(...(first ? [gap(first)] : []), ...rows, ...(last < this.shown.length ? [gap(this.shown.length - last)] : []));
    this.point();
    if (this.shown.length && last === this.shown.length) this.nearEnd();
  }

  // Says which row is selected.
  point() {
    if (this.selected >= 0) this.table.setAttribute("aria-activedescendant", `${this.id}-${this.selected}`);
    else this.table.removeAttribute("aria-activedescendant");
  }

  line(row, place) {
    const cells = this.columns.map((column) => {
      const text = String(column.cell(row) ?? "");
      const classes = [column.number ? "number" : "", column.mark ? column.mark(row) : ""].join(" ").trim();
      return make("td", { class: classes || null, title: text }, text);
    });
    const selected = String(place === this.selected);
    return make("tr", { id: `${this.id}-${place}`, "aria-rowindex": place + 2, "aria-selected": selected }, cells);
  }

  choose(place) {
    const drawn = (place) => by(`${this.id}-${place}`);
    drawn(this.selected)?.setAttribute("aria-selected", "false");
    this.selected = Math.max(0, Math.min(place, this.shown.length - 1));
    const head = ROW_PX;
    const top = this.selected * ROW_PX;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight - head) this.element.scrollTop = top + ROW_PX + head - clientHeight;
    // A row that stays the same can be clicked twice.
    drawn(this.selected)?.setAttribute("aria-selected", "true");
    if (drawn(this.selected)) this.point();
    else this.draw();
    this.chosen(this.row());
  }

  clicked(event, isTwice) {
    const line = event.target.closest("tr[aria-rowindex]");
    if (!line) return;
    this.choose(Number(line.getAttribute("aria-rowindex")) - 2);
    if (isTwice && this.open) this.open(this.row());
  }

  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_PX) - 2);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && this.shown.length) {
      const start = this.selected < 0 && steps[event.key] > 0 ? -1 : this.selected;
      this.choose(start + steps[event.key]);
    } else if (event.key === "Enter" && this.open && this.row()) {
      this.open(this.row());
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

// Views --------------------------------------------------------------------------------------------------------------

// Names and values side by side; `set` takes [name, value, mark] of each.
function tiles() {
  const element = make("dl", { class: "tiles" });
  const set = (pairs) => element.replaceChildren(...pairs.map(([name, value, mark]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: mark || null }, value))));
  return { element, set };
}

const CLASSES = ["2xx", "3xx", "4xx", "5xx", "6xx"];

// How fast the answers of each class come, of two looks.
function rates(before, now) {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const rate = (name) => (seconds > 0 ? Math.max(0, now.answers[name] - before.answers[name]) / seconds : null);
  return Object.fromEntries(CLASSES.map((name) => [name, rate(name)]));
}

function overview() {
  const head = tiles();
  const perSecond = (rate) => (rate === null ? "" : rate.toFixed(1));
  const answers = new Grid("Answers by class", [
    { head: "Answers", width: 40, cell: (row) => row.name },
    { head: "Since the start", width: 30, number: true, cell: (row) => count(row.total) },
    { head: "A second", width: 30, number: true, cell: (row) => perSecond(row.rate) },
  ], { key: (row) => row.name });
  const sinks = sinksGrid();
  const servers = serversGrid();
  const down = downGrid();
  let before = null;
  const refresh = async () => {
    const status = await ask("/status");
    const now = { at: performance.now(), answers: status.answers };
    const rate = rates(before, now);
    before = now;
    const sum = CLASSES.reduce((sum, name) => sum + (rate[name] ?? 0), 0);
    const troubles = [...status.hanging.map((name) => `${name} hangs`), ...status.queue.troubles];
    head.set([
      ["Phase", status.phase, status.phase === "running" ? "good" : "warn"],
      ["New calls", status.accepts_calls ? "are taken" : "are refused", status.accepts_calls ? "good" : "bad"],
      ["Calls answered a second", Object.values(rate).some((one) => one === null) ? "" : sum.toFixed(1)],
      ["Calls in progress", count(status.calls)],
      ["Records waiting", count(status.queue.waiting)],
      ["Balance of the queue", status.queue.balanced ? "holds" : "does not hold", status.queue.balanced ? "good" : "bad"],
      ["Troubles", troubles.join(", ") || "none", troubles.length ? "bad" : "good"],
      ["Version, start", `${status.version}, ${time(status.started)}`],
    ]);
    answers.set(CLASSES.map((name) => ({ name, total: status.answers[name], rate: rate[name] })));
    sinks.set(status.queue.sinks);
    servers.set(serversOf(status));
    down.set(status.down);
  };
  const parts = [make("h2", {}, "Overview"), head.element, make("h3", {}, "Answers to new calls"), answers.element,
    make("h3", {}, "Sinks"), sinks.element, make("h3", {}, "Servers"), servers.element,
    make("h3", {}, "SIP destinations that are down"), down.element];
  return { parts, refresh, every: REFRESH_MS };
}

function sinksGrid() {
  return new Grid("Sinks", [
    { head: "Sink", width: 22, cell: (row) => row.sink },
    { head: "Waiting", width: 12, number: true, cell: (row) => count(row.waiting) },
    { head: "Oldest", width: 14, number: true, cell: (row) => (row.waiting ? span(row.oldest_s) : "") },
    { head: "Parked", width: 12, number: true, cell: (row) => count(row.parked_now), mark: (row) => (row.parked_now ? "bad" : "") },
    { head: "Delivered", width: 14, number: true, cell: (row) => count(row.delivered) },
    { head: "Dropped", width: 12, number: true, cell: (row) => count(row.dropped) },
    { head: "Lost", width: 14, number: true, cell: (row) => count(row.lost), mark: (row) => (row.lost ? "bad" : "") },
  ], { key: (row) => row.sink });
}

function serversOf(status) {
  return status.backends.flatMap((backend) =>
    backend.servers.map((server) => ({ ...server, sink: backend.sink, kind: backend.kind })));
}

const STATE_MARKS = { up: "good", alive: "good", open: "good", down: "bad", dead: "bad", misfit: "bad", dismissed: "bad", closed: "bad" };

function serversGrid(options = {}) {
  return new Grid("Servers", [
    { head: "Sink", width: 14, cell: (row) => row.sink },
    { head: "Server", width: 26, cell: (row) => row.server },
    { head: "State", width: 12, cell: (row) => row.state, mark: (row) => STATE_MARKS[row.state] ?? "warn" },
    { head: "Since", width: 12, number: true, cell: (row) => span(row.since_s) },
    { head: "In flight", width: 10, number: true, cell: (row) => count(row.in_flight) },
    { head: "Trip, ms", width: 12, number: true, cell: (row) => row.round_trip_ms ?? "" },
    { head: "Note", width: 14, cell: (row) => row.note ?? "" },
  ], { key: (row) => `${row.sink} ${row.server}`, ...options });
}

function downGrid() {
  return new Grid("SIP destinations that are down", [
    { head: "Destination", width: 50, cell: (row) => row.destination },
    { head: "Since", width: 25, number: true, cell: (row) => span(row.since_s) },
    { head: "Probes", width: 25, number: true, cell: (row) => count(row.probes) },
  ], { key: (row) => row.destination });
}

// Calls --------------------------------------------------------------------------------------------------------------

// A field that finds rows of a table.
function finder(grid, label) {
  const input = make("input", { type: "search", "aria-label": label, placeholder: label });
  input.addEventListener("input", () => grid.filter(input.value.trim()));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    grid.table.focus();
    grid.choose(0);
  });
  return input;
}

function openCall(row) {
  location.hash = `#/call/${encodeURIComponent(row.call_id)}`;
}

const callState = (row) => (row.ending ? "ending" : row.answered ? "answered" : "early");

function calls() {
  const told = make("p", { class: "quiet" });
  const grid = new Grid("Calls in progress", [
    { head: "Since", width: 17, cell: (row) => time(row.answered ?? row.created) },
    { head: "State", width: 8, cell: callState },
    { head: "Lasts", width: 9, number: true, cell: (row) => span(row.duration_s) },
    { head: "From", width: 20, cell: (row) => row.from },
    { head: "To", width: 20, cell: (row) => row.to },
    { head: "Call-ID", width: 26, cell: (row) => row.call_id },
  ], { key: (row) => row.session, open: openCall });
  const traced = new Grid("Last calls", [
    { head: "Begun", width: 17, cell: (row) => time(row.begun) },
    { head: "Response", width: 9, number: true, cell: (row) => row.code ?? "", mark: (row) => (row.code >= 500 ? "bad" : "") },
    { head: "Messages", width: 9, number: true, cell: (row) => count(row.messages) },
    { head: "From", width: 20, cell: (row) => row.from },
    { head: "Request-URI", width: 20, cell: (row) => row.uri },
    { head: "Call-ID", width: 25, cell: (row) => row.call_id },
  ], { key: (row) => row.call_id, open: openCall });
  const input = finder(grid, "Find in these calls");
  input.addEventListener("input", () => traced.filter(input.value.trim()));
  const refresh = async () => {
    const [now, last] = await Promise.all([ask(`/calls?max=${CALLS_MAX}`), ask(`/calls/traced?max=${TRACED_MAX}`)]);
    told.textContent = `${count(now.total)} calls in progress`
      + (now.calls.length < now.total ? `; ${count(now.calls.length)} are shown` : "");
    grid.set(now.calls);
    traced.set(last.calls);
  };
  const parts = [make("h2", {}, "Calls"), make("div", { class: "tools" }, input, make("span", { class: "quiet" }, "Enter shows all of a call")),
    told, grid.element, make("h3", {}, "Last calls whose messages are kept (`[trace] calls`)"), traced.element];
  return { parts, refresh, every: 5 * REFRESH_MS };
}

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// What is written on the arrow of a message.
function label(message) {
  return message.code ? `${message.code} ${message.text} (${message.method})` : `${message.method} ${message.text}`;
}

const LANE_PX = 280;
const STEP_PX = 34;

// One lane for each participant, the gateway beside the caller, and an arrow for each message.
function ladderOf(call) {
  const peers = [...new Set(call.messages.map((message) => message.peer))];
  const lanes = [peers[0] ?? "", "Tollgate", ...peers.slice(1)];
  const x = (lane) => 130 + lane * LANE_PX + LANE_PX / 2;
  const height = 50 + call.messages.length * STEP_PX;
  const width = x(lanes.length - 1) + LANE_PX / 2;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", class: "ladder",
    "aria-label": `Messages of the call, which the table below lists too: ${call.messages.length}` });
  lanes.forEach((name, lane) => {
    svg.append(draw("text", { x: x(lane), y: 18, "text-anchor": "middle", class: "lane" }, name));
    svg.append(draw("line", { x1: x(lane), y1: 26, x2: x(lane), y2: height - 4, class: "lane" }));
  });
  const begun = Date.parse(call.messages[0]?.time);
  call.messages.forEach((message, place) => {
    const y = 50 + place * STEP_PX;
    const peer = lanes.indexOf(message.peer, message.peer === lanes[0] ? 0 : 2);
    const [from, to] = message.way === "in" ? [x(peer), x(1)] : [x(1), x(peer)];
    const tip = to > from ? to - 8 : to + 8;
    const mark = message.code >= 400 ? "refusal" : message.code ? "response" : "request";
    svg.append(draw("text", { x: 8, y: y + 4, class: "when" }, `+${((Date.parse(message.time) - begun) / 1000).toFixed(3)} s`));
    const text = draw("text", { x: (from + to) / 2, y: y - 5, "text-anchor": "middle", class: mark },
      shortened(label(message), Math.floor(Math.abs(to - from) / 8)));
    text.append(draw("title", {}, label(message)));
    svg.append(text, draw("line", { x1: from, y1: y, x2: tip, y2: y, class: mark }),
      draw("path", { d: `M ${to} ${y} L ${tip} ${y - 5} L ${tip} ${y + 5} Z`, class: mark }));
  });
  return svg;
}

function call(callId = "") {
  const told = make("p", { class: "quiet" });
  const picture = make("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Diagram" });
  const messages = new Grid("Messages", [
    { head: "Time", width: 18, cell: (row) => row.time.replace(/^.*T/, "") },
    { head: "Way", width: 6, cell: (row) => row.way },
    { head: "Other end", width: 18, cell: (row) => row.peer },
    { head: "Our end", width: 18, cell: (row) => row.local },
    { head: "CSeq", width: 10, cell: (row) => `${row.cseq} ${row.method}` },
    { head: "Message", width: 30, cell: label },
  ], { key: (row) => `${row.time} ${row.way} ${row.peer} ${label(row)}` });
  const fates = new Grid("Records", [
    { head: "Time", width: 18, cell: (row) => time(row.at) },
    { head: "Record", width: 20, cell: (row) => row.record },
    { head: "What", width: 20, cell: (row) => row.what, mark: (row) => (["parked", "dropped", "lost"].includes(row.what) ? "bad" : "") },
    { head: "Sink", width: 10, cell: (row) => row.sink },
    { head: "Try", width: 6, number: true, cell: (row) => row.attempt || "" },
    { head: "By", width: 12, cell: (row) => row.who },
    { head: "Reason", width: 14, cell: (row) => row.reason },
  ], { key: (row) => `${row.at} ${row.record} ${row.what} ${row.sink}` });
  const history = make("p", { class: "quiet" });
  const script = new Grid("What the script has decided", [
    { head: "Time", width: 16, cell: (row) => row.time.replace(/^.*T/, "") },
    { head: "Handler", width: 18, cell: (row) => row.handler },
    { head: "About", width: 14, cell: (row) => row.code ?? row.method },
    { head: "Line", width: 6, number: true, cell: (row) => row.line ?? "" },
    { head: "Step", width: 46, cell: (row) => row.step, mark: (row) => (row.isError ? "bad" : "") },
  ], { key: (row) => `${row.time} ${row.handler} ${row.line} ${row.step}` });
  // Days of the ledger are long: they are read when somebody asks, and not again and again.
  const refresh = async (isAsked) => {
    const name = encodeURIComponent(callId);
    const [found, story, turns] = await Promise.all([ask(`/calls/ladder?call=${name}`).catch(orRefusal),
      isAsked ? ask(`/calls/story?call=${name}`).catch(orRefusal) : null, ask(`/script/trace?call=${name}`).catch(orRefusal)]);
    script.set((turns.turns ?? []).flatMap(stepsOf));
    if (story) {
      fates.set((story.records ?? []).flatMap(fatesOf));
      history.textContent = story.refused ?? `${count(story.total)} records of ${story.range}, by the ledger; \`r\` looks again`;
    }
    if (found.refused) {
      told.textContent = found.refused;
      picture.replaceChildren();
      messages.set([]);
      return;
    }
    const left = found.messages_left_out;
    told.textContent = `From ${found.from}; ${found.messages.length + left} messages`
      + (left ? `, of which ${left} before the last are left out` : "");
    picture.replaceChildren(ladderOf(found));
    messages.set(found.messages);
  };
  const parts = [make("h2", {}, "Call ", make("code", {}, callId)), told, picture, make("h3", {}, "Messages"), messages.element,
    make("h3", {}, "Records, and where they went"), history, fates.element,
    make("h3", {}, "What the script has decided"), script.element];
  return { parts, refresh, every: 5 * REFRESH_MS };
}

// A line for a record, and one for each thing that happened to it.
function fatesOf(own) {
  const ended = own.cause ? `, ended by ${own.ended_by}: ${own.cause}` : "";
  const lasted = own.duration_s === null ? "" : `, ${span(own.duration_s)}`;
  const what = `${own.kind}${own.code ? ` ${own.code}` : ""}${ended}${lasted}`;
  const first = { at: own.event, record: own.record, what, sink: own.sinks.join(" "), who: "", reason: "" };
  return [first, ...own.happened.map((one) => ({ ...one, record: own.record, reason: one.reason + (one.code ? ` (${one.code})` : "") }))];
}

// A line for each step of a run of a handler, and one for what came of it.
function stepsOf(turn) {
  const steps = turn.steps.map((step) => ({ ...step, step: `${step.step}${step.result === false ? " is false" : ""}` }));
  const error = turn.error ? [{ step: turn.error, isError: true }] : [];
  const outcome = { step: `→ ${turn.outcome}${turn.reply ? ` ${turn.reply}` : ""}${turn.route ? ` \`${turn.route}\`` : ""}` };
  return [...steps, ...error, outcome].map((step) => ({ ...step, time: turn.time, handler: turn.handler, method: turn.method, code: turn.code }));
}

// What is not there is said where it would stand; other refusals are the whole page's.
function orRefusal(error) {
  if (error instanceof Refused && error.status === 400) return { refused: error.message };
  throw error;
}

// Queue --------------------------------------------------------------------------------------------------------------

// Names under which configurations keep who has called, and whom.
const CALLERS = ["caller", "from", "from_uri", "from_user", "src_user", "src"];
const CALLEES = ["callee", "to", "to_uri", "to_user", "dst_user", "dst"];

function party(record, names, leg) {
  const name = names.find((name) => record?.fields?.[name]);
  return String((name ? record.fields[name] : record?.legs?.[0]?.[leg]) ?? "");
}

const reasonOf = (row) => row.sinks.map((sink) => sink.reason).find(Boolean) ?? row.unreadable ?? "";
const triesOf = (row) => Math.max(0, ...row.sinks.map((sink) => sink.attempts ?? 0));

function nextTry(row) {
  if (row.state === "parked") return "";
  const due = Math.min(...row.sinks.map((sink) => (sink.leased ? 0 : sink.due_in_s ?? 0)));
  return due < 0.05 ? "now" : `in ${span(due)}`;
}

function queue() {
  const choices = (name, label, values) => make("label", {}, `${label} `,
    make("select", { name, onchange: () => load(true) }, values.map(([value, text]) => make("option", { value }, text))));
  const state = choices("state", "State", [["parked", "parked"], ["waiting", "waiting"], ["", "both"]]);
  const sink = choices("sink", "Sink", [["", "all"]]);
  const chosen = (label) => label.querySelector("select").value;
  const told = make("p", { class: "quiet", role: "status" });
  const detail = make("pre", { tabindex: 0, "aria-label": "All of a record" });
  detail.hidden = true;
  let next = null;
  let rows = [];
  let isLoading = false;
  const grid = new Grid("Records", [
    { head: "Record", width: 13, cell: (row) => row.id },
    { head: "Call-ID", width: 13, cell: (row) => row.record?.call_id },
    { head: "State", width: 7, cell: (row) => row.state, mark: (row) => (row.state === "parked" ? "bad" : "") },
    { head: "Kind", width: 7, cell: (row) => row.record?.kind },
    { head: "Sinks", width: 8, cell: (row) => row.sinks.map((sink) => sink.sink).join(" ") },
    { head: "Tries", width: 5, number: true, cell: triesOf },
    { head: "Age", width: 8, number: true, cell: (row) => span(row.age_s) },
    { head: "Next try", width: 8, number: true, cell: nextTry },
    { head: "Caller", width: 9, cell: (row) => party(row.record, CALLERS, "src") },
    { head: "Callee", width: 9, cell: (row) => party(row.record, CALLEES, "dst") },
    { head: "Reason", width: 13, cell: reasonOf },
  ], {
    key: (row) => `${row.state} ${row.seq} ${row.id} ${row.sinks[0]?.sink}`,
    open: (row) => {
      detail.hidden = false;
      detail.textContent = JSON.stringify(row, null, 1);
      detail.focus();
    },
    chosen: () => enable(),
    nearEnd: () => next && load(false),
  });
  const load = async (isAnew) => {
    if (isLoading && !isAnew) return;
    isLoading = true;
    const query = new URLSearchParams();
    if (chosen(state)) query.set("state", chosen(state));
    if (chosen(sink)) query.set("sink", chosen(sink));
    if (!isAnew && next) query.set("from", next);
    try {
      const page = await ask(`/records?${query}`);
      rows = isAnew ? page.items : rows.concat(page.items);
      next = rows.length < RECORDS_MAX ? page.next : null;
      told.textContent = `${count(rows.length)} records${page.next ? ", and there are more" : ""}`;
    } finally {
      isLoading = false;
    }
    grid.set(rows);
    enable();
  };
  const act = async (verb, body) => {
    try {
      const done = await ask(`/records/${verb}`, body);
      say(`${verb}: ${count(done.records)} records${done.skipped ? `, ${count(done.skipped)} passed over: ${(done.reasons ?? []).join("; ")}` : ""}`);
    } catch (error) {
      say(error.message, "bad");
      if (error.status === 401) askForToken("");
      return;
    }
    await load(true);
  };
  const reason = make("input", { type: "text", maxlength: 200, "aria-label": "Reason for parking", placeholder: "reason for parking" });
  const one = () => ({ record: grid.row().id, sink: grid.row().sinks.length === 1 ? grid.row().sinks[0].sink : undefined });
  const park = () => act("park", { ...one(), ...(reason.value.trim() && { reason: reason.value.trim() }) });
  const retryAll = () => {
    const which = chosen(sink) ? `of \`${chosen(sink)}\`` : "of all sinks";
    if (confirm(`Try all parked records ${which} again?`)) act("retry", { all: true, state: "parked", sink: chosen(sink) || undefined });
  };
  const buttons = [
    make("button", { type: "button", onclick: () => act("retry", one()) }, "Try it again"),
    make("button", { type: "button", onclick: park }, "Park it"),
  ];
  const enable = () => {
    const row = grid.row();
    buttons[0].disabled = !row;
    buttons[1].disabled = !row || row.state === "parked";
  };
  const sinks = sinksGrid();
  const refresh = async () => {
    const queue = await ask("/queue");
    sinks.set(queue.sinks);
    const select = sink.querySelector("select");
    const names = queue.sinks.map((own) => own.sink);
    for (const name of names) {
      if (![...select.options].some((option) => option.value === name)) select.append(make("option", { value: name }, name));
    }
    // What has been scrolled through stays until it is wanted anew.
    if (rows.length <= PAGE_ROWS) await load(true);
  };
  const parts = [make("h2", {}, "Queue"), sinks.element, make("h3", {}, "Records"),
    make("div", { class: "tools" }, state, sink, finder(grid, "Find in these records")),
    make("div", { class: "tools" }, buttons, reason, make("button", { type: "button", onclick: retryAll }, "Try all parked ones again"),
      make("span", { class: "quiet" }, "Enter shows all of a record. Records are given up by `tollgate queue drop` alone.")),
    told, grid.element, detail];
  enable();
  return { parts, refresh, every: 2 * REFRESH_MS };
}

function servers() {
  const detail = make("pre", { tabindex: 0, "aria-label": "All of a server" });
  detail.hidden = true;
  const grid = serversGrid({
    open: (row) => {
      detail.hidden = false;
      detail.textContent = JSON.stringify(row, null, 1);
      detail.focus();
    },
  });
  const down = downGrid();
  const refresh = async () => {
    const status = await ask("/status");
    grid.set(serversOf(status));
    down.set(status.down);
  };
  const parts = [make("h2", {}, "Servers"), make("div", { class: "tools" }, finder(grid, "Find in these servers"),
    make("span", { class: "quiet" }, "Enter shows all of a server")), grid.element, detail,
    make("h3", {}, "SIP destinations that are down"), down.element];
  return { parts, refresh, every: REFRESH_MS };
}

// Audit --------------------------------------------------------------------------------------------------------------

// What may become of a record, with its colour in page.css, from well to ill.
const FATES = [["delivered", "delivered"], ["handed_over", "handed over"], ["settled", "settled"], ["superseded", "superseded"],
  ["waiting", "waiting"], ["parked", "parked"], ["dropped", "dropped"], ["lost", "lost"]];

// A bar for each sink, of what became of its records; each part says what it is.
function chartOf(audit) {
  const [left, width, row] = [170, 760, 40];
  const most = Math.max(1, ...audit.sinks.map((sink) => sink.records));
  const height = audit.sinks.length * row + 50;
  const svg = draw("svg", { viewBox: `0 0 ${left + width + 110} ${height}`, width: left + width + 110, height, role: "img", class: "chart",
    "aria-label": "Records by sink and fate, which the table below lists too" });
  audit.sinks.forEach((sink, place) => {
    const y = 8 + place * row;
    svg.append(draw("text", { x: left - 8, y: y + 20, "text-anchor": "end" }, shortened(sink.sink, 22)));
    let x = left;
    for (const [key, name] of FATES.filter(([key]) => sink[key] > 0)) {
      const part = Math.max(2, (sink[key] / most) * width);
      const bar = draw("rect", { x, y: y + 4, width: part, height: row - 16, class: `fate-${key}` });
      bar.append(draw("title", {}, `${sink.sink}: ${count(sink[key])} ${name}`));
      svg.append(bar);
      x += part;
    }
    svg.append(draw("text", { x: x + 6, y: y + 20 }, count(sink.records)));
  });
  let x = left;
  for (const [key, name] of FATES.filter(([key]) => audit.sinks.some((sink) => sink[key] > 0))) {
    svg.append(draw("rect", { x, y: height - 26, width: 14, height: 14, class: `fate-${key}` }),
      draw("text", { x: x + 20, y: height - 15 }, name));
    x += 100;
  }
  return svg;
}

// The time of day at which an hour begins, where the browser is.
const clockOf = (hour) => new Date(hour.from).toTimeString().slice(0, 5);

// A bar for each hour, of the calls whose records are all where they belong and of the others.
function hoursOf(hours) {
  const [left, height, bar] = [60, 160, 34];
  const most = Math.max(1, ...hours.map((hour) => hour.calls));
  const width = left + hours.length * bar + 20;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height + 60}`, width, height: height + 60, role: "img", class: "chart",
    "aria-label": "Calls by hour, and those that are not complete, which the table below lists too" });
  svg.append(draw("text", { x: left - 8, y: 18, "text-anchor": "end" }, count(most)),
    draw("text", { x: left - 8, y: height + 8, "text-anchor": "end" }, "0"));
  hours.forEach((hour, place) => {
    const x = left + place * bar;
    const tall = (calls) => (calls ? Math.max(2, (calls / most) * (height - 10)) : 0);
    const [whole, incomplete] = [tall(hour.calls), tall(hour.incomplete)];
    const said = `from ${clockOf(hour)}, calls: ${count(hour.calls)}, not complete: ${count(hour.incomplete)}`;
    for (const [part, fate] of [[Math.max(0, whole - incomplete), "delivered"], [incomplete, "lost"]]) {
      const rect = draw("rect", { x, y: height + 8 - (fate === "lost" ? incomplete : whole), width: bar - 6, height: part, class: `fate-${fate}` });
      rect.append(draw("title", {}, said));
      if (part) svg.append(rect);
    }
    if (place % 2 === 0) svg.append(draw("text", { x: x + bar / 2 - 3, y: height + 24, "text-anchor": "middle" }, clockOf(hour)));
  });
  [["delivered", "complete"], ["lost", "not complete"]].forEach(([fate, name], place) => {
    const x = left + place * 120;
    svg.append(draw("rect", { x, y: height + 36, width: 14, height: 14, class: `fate-${fate}` }), draw("text", { x: x + 20, y: height + 47 }, name));
  });
  return svg;
}

function audit() {
  const day = make("input", { type: "date", "aria-label": "Day", onchange: () => again(current) });
  const shortcuts = ["yesterday", "today"].map((name) => make("button", { type: "button", onclick: () => {
    day.value = "";
    named = name;
    again(current);
  } }, name));
  let named = "today";
  const verdict = make("p", { role: "status" });
  const wanting = make("ul", {});
  const chart = make("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Chart" });
  const column = ([key, name]) => ({ head: name[0].toUpperCase() + name.slice(1), width: 9, number: true, cell: (row) => count(row[key]),
    mark: (row) => (["parked", "dropped", "lost"].includes(key) && row[key] ? "bad" : "") });
  const grid = new Grid("Sinks of the day", [
    { head: "Sink", width: 12, cell: (row) => row.sink },
    { head: "Calls", width: 8, number: true, cell: (row) => count(row.calls) },
    { head: "Records", width: 8, number: true, cell: (row) => count(row.records) },
    ...FATES.map(column),
  ], { key: (row) => row.sink });
  const hourly = make("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Chart of the hours" });
  const hours = new Grid("Hours of the day", [
    { head: "From", width: 30, cell: clockOf },
    { head: "Calls", width: 35, number: true, cell: (row) => count(row.calls) },
    { head: "Not complete", width: 35, number: true, cell: (row) => count(row.incomplete), mark: (row) => (row.incomplete ? "bad" : "") },
  ], { key: (row) => row.from });
  const head = tiles();
  const refresh = async () => {
    verdict.textContent = "the ledger is read …";
    verdict.className = "quiet";
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const of = (more) => ask(`/audit?${new URLSearchParams({ day: day.value || named, ...more })}`).catch(orRefusal);
    let found = await of(zone ? { zone } : {});
    // The gateway's machine may have no table of zones: its own is as good as one can get then.
    if (found.refused && zone) found = await of({});
    verdict.textContent = found.refused ?? (found.complete ? `${found.range}: complete` : `${found.range}: incomplete`);
    verdict.className = found.complete ? "good" : "bad";
    wanting.replaceChildren(...(found.wanting ?? []).map((text) => make("li", {}, text)));
    if (found.refused) return;
    const sum = (counts, key) => count(counts.reduce((sum, one) => sum + one[key], 0));
    head.set([["Calls", count(found.calls)], ["Records", count(found.records)], ["Refused calls", sum(found.refused_calls, "calls")],
      ["Answers let go before commit", count(found.answers_before_commit)], ["Gaps of the ledger", count(found.gaps.length)],
      ["Starts after a kill", count(found.unclean_starts)]]);
    chart.replaceChildren(chartOf(found));
    grid.set(found.sinks);
    hourly.replaceChildren(hoursOf(found.hours));
    hours.set(found.hours);
  };
  const parts = [make("h2", {}, "Audit of a day"), make("div", { class: "tools" }, shortcuts, day), verdict, wanting, head.element,
    make("h3", {}, "Records by sink"), chart, grid.element, make("h3", {}, "Calls by the hour of their first record"), hourly, hours.element];
  return { parts, refresh };
}

function configuration() {
  const grid = new Grid("Options", [
    { head: "Option", width: 34, cell: (row) => row.option },
    { head: "Value", width: 34, cell: (row) => row.value },
    { head: "Takes effect", width: 12, cell: (row) => row.effect },
    { head: "Where", width: 20, cell: (row) => row.place },
  ], { key: (row) => `${row.option} ${row.place} ${row.value}` });
  const refresh = async () => grid.set((await ask("/configuration")).options);
  const parts = [make("h2", {}, "Configuration as loaded"), make("div", { class: "tools" }, finder(grid, "Find in these options"),
    make("span", { class: "quiet" }, "What the file and the environment say; all else has its default. Secrets stand in files of their own.")),
    grid.element];
  return { parts, refresh };
}

// The page as a whole ------------------------------------------------------------------------------------------------

// Name in the address, title, how it is made, and whether it has no link of its own.
const VIEWS = [["overview", "Overview", overview], ["calls", "Calls", calls], ["queue", "Queue", queue], ["servers", "Servers", servers],
  ["audit", "Audit", audit], ["configuration", "Configuration", configuration], ["call", "Call", call, true]];

const KEYS = [["1 …", "a view"], ["Tab", "the next part"], ["↑ ↓ j k", "a row"], ["PgUp PgDn Home End", "in a table"],
  ["Enter", "all of a row"], ["/", "find"], ["r", "look again"], ["t", "the token"], ["Esc", "back"]];

let current = { refresh: async () => {}, timer: 0 };

function show() {
  clearTimeout(current.timer);
  current.isGone = true;
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const found = VIEWS.find(([own]) => own === name) || VIEWS[0];
  const view = { ...found[2](...rest), isGone: false, timer: 0 };
  current = view;
  for (const link of by("views").children) {
    if (link.dataset.view === found[0]) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  by("main").replaceChildren(...view.parts);
  document.title = `${found[1]} – Tollgate`;
  again(view);
}

// A place in the address may be broken by hand.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Fills the view, and does so again when its time has come and somebody looks.
async function again(view, isAsked = true) {
  clearTimeout(view.timer);
  if (view.isGone) return;
  if (!document.hidden) await look(view, isAsked);
  if (view.every && !view.isGone) view.timer = setTimeout(() => again(view, false), view.every);
}

async function look(view, isAsked) {
  try {
    await view.refresh(isAsked);
    if (!view.isGone) say(`as of ${new Date().toLocaleTimeString()}`);
  } catch (error) {
    if (view.isGone) return;
    say(error instanceof Refused ? error.message : `no answer: ${error.message}`, "bad");
    if (error instanceof Refused && error.status === 401) {
      askForToken(sessionStorage.getItem("token") ? "The gateway does not take this token." : "");
    }
  }
}

function say(text, mark = "") {
  by("state").textContent = text;
  by("state").className = mark;
}

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || by("ask").open) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const view = VIEWS.filter(([, , , isHidden]) => !isHidden)[Number(event.key) - 1];
  if (view) location.hash = `#/${view[0]}`;
  else if (event.key === "/") document.querySelector("main input[type=search]")?.focus();
  else if (event.key === "r") again(current);
  else if (event.key === "t") askForToken("");
  else if (event.key === "Escape") history.back();
  else return;
  event.preventDefault();
}

function begin() {
  const links = VIEWS.filter(([, , , isHidden]) => !isHidden).map(([name, title], place) =>
    make("a", { href: `#/${name}`, "data-view": name, accesskey: place + 1 }, `${place + 1} ${title}`));
  by("views").append(...links);
  by("keys").append("Keys: ", ...KEYS.flatMap(([key, what]) => [make("kbd", {}, key), ` ${what}  `]));
  by("token").addEventListener("click", () => askForToken(""));
  by("ask").querySelector("form").addEventListener("submit", tokenGiven);
  by("ask-forget").addEventListener("click", () => {
    sessionStorage.removeItem("token");
    by("ask").close();
    show();
  });
  document.addEventListener("keydown", pressed);
  document.addEventListener("visibilitychange", () => document.hidden || again(current, false));
  addEventListener("hashchange", () => {
    show();
    by("main").focus();
  });
  show();
}

begin();
