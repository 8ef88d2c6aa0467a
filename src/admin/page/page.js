"use strict";
// The page of a running gateway. It asks /api/v1 and nothing else. What comes from there may hold anything that a stranger
// has put into a SIP header: it goes into the page as text, never as markup.

const API = "/api/v1";
// Time between two looks at what changes by itself.
const REFRESH_MS = 2000;

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
  const options = { headers, cache: "no-store", credentials: "omit" };
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
  };
  const parts = [make("h2", {}, "Overview"), head.element];
  return { parts, refresh, every: REFRESH_MS };
}

// The page as a whole ------------------------------------------------------------------------------------------------

// Name in the address, title, how it is made, and whether it has no link of its own.
const VIEWS = [["overview", "Overview", overview]];

const KEYS = [["Tab", "the next part"], ["r", "look again"], ["t", "the token"], ["Esc", "back"]];

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
