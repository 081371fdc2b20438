// weir's page: asks the JSON API on its own host and shows what it says. Plain JavaScript, no build step. Every value from
// the API is written as text, never as markup: names of rules and devices are whatever somebody wrote.
"use strict";

/* ---- elements ---- */

const $ = (id) => document.getElementById(id);

/** Makes an element; strings among the children become text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Writes a text; unchanged text stays, so that a screen reader hears of changes only. */
function say(id, text, state) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
  if (state !== undefined && element.dataset.state !== state) element.dataset.state = state;
}

/** Fills a table: `columns` are [heading, "num" where figures]; the first cell of a row heads it. */
function table(id, columns, rows, empty) {
  const element = $(id);
  const key = JSON.stringify(rows.map((row) => row.map((cell) => (cell instanceof Node ? [cell.textContent, cell.title] : cell))));
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  const head = make("tr", {}, ...columns.map(([text, kind]) => make("th", { scope: "col", class: kind }, text)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, at) =>
    make(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: columns[at][1] }, cell ?? "–"))));
  if (rows.length === 0) body.push(make("tr", {}, make("td", { colspan: columns.length, class: "empty" }, empty)));
  element.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

const tag = (text, state, title) => make("span", { class: `tag ${state ?? ""}`, title }, text);

/* ---- figures and times ---- */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

/** Bytes with an IEC unit: 1024 B are 1 KiB. */
function bytes(value, suffix = "") {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  const digits = unit === 0 ? (value > 0 && value < 10 && value % 1 ? 1 : 0) : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u00a0${UNITS[unit]}${suffix}`;
}

function percent(share) {
  const digits = share === 0 || share === 1 ? 0 : share < 0.01 ? 2 : 1;
  return `${(100 * share).toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u00a0%`;
}

const packets = (value) => `${whole.format(value)}\u00a0${value === 1 ? "packet" : "packets"}`;

/** A span of time in its two largest units. */
function span(seconds) {
  const steps = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.round(seconds));
  const words = [];
  for (const [unit, size] of steps) {
    const count = Math.floor(rest / size);
    if (count > 0 || (unit === "s" && words.length === 0)) words.push(`${count}\u00a0${unit}`);
    rest -= count * size;
    if (words.length === 2) break;
  }
  return words.join(" ");
}

/** A countdown: 4:05 or 1:02:03. */
function clock(seconds) {
  const rest = Math.max(0, Math.ceil(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(rest / 3600), Math.floor(rest / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest % 60)}` : `${minutes}:${two(rest % 60)}`;
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const utc = (seconds) => `${new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC`;
const now = () => Date.now() / 1000;

/** How long ago a time was; the time itself in UTC beside it. */
function ago(seconds) {
  if (seconds === null || seconds === undefined) return null;
  const date = new Date(seconds * 1000);
  const text = now() - seconds < 5 ? "just now" : `${span(now() - seconds)} ago`;
  return make("time", { datetime: date.toISOString(), title: utc(seconds) }, text);
}

/** A time in this browser's zone, with UTC beside it. */
function when(seconds) {
  if (seconds === null || seconds === undefined) return null;
  const date = new Date(seconds * 1000);
  return make("time", { datetime: date.toISOString(), title: utc(seconds) }, local.format(date));
}

/* ---- the API ---- */

const TOKEN = "weir-token";

/** Asks the API; throws where nobody answers. */
async function call(path, body) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    body: body === undefined ? undefined : JSON.stringify(body),
    headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(20000),
  });
  const document = await response.json();
  if (response.status === 401) {
    sessionStorage.removeItem(TOKEN);
    showForget();
  }
  return { ok: response.ok, status: response.status, document, hadToken: token !== null };
}

/** Asks the operator for the token; resolves to false where there is none. */
let asking = null;
function askToken(why) {
  if (asking) return asking;
  const dialog = $("token");
  $("token-why").textContent = why;
  $("token-text").value = "";
  asking = new Promise((resolve) => {
    dialog.onclose = () => {
      asking = null;
      showForget();
      resolve(sessionStorage.getItem(TOKEN) !== null);
    };
  });
  dialog.showModal();
  $("token-text").focus();
  return asking;
}

function showForget() {
  $("forget").hidden = sessionStorage.getItem(TOKEN) === null;
}

/** Does something that needs the token, and says how it went. */
async function act(path, body, button) {
  let why = "To change something, weir wants its token.";
  button.disabled = true;
  try {
    for (;;) {
      if (sessionStorage.getItem(TOKEN) === null && !(await askToken(why))) return outcome("Nothing was changed: no token was given.", true);
      const answer = await call(path, body);
      if (answer.status === 401) { why = "That was not weir’s token."; continue; }
      outcome(answer.ok ? answer.document.done : answer.document.detail, !answer.ok);
      return await pollStatus();
    }
  } catch {
    outcome("weir did not answer: it is not known whether anything was changed.", true);
  } finally {
    button.disabled = false;
  }
}

let fading = 0;
function outcome(text, bad) {
  const element = $("outcome");
  element.classList.toggle("bad", bad);
  element.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => { element.textContent = ""; }, 15000);
}

/* ---- the status ---- */

const shown = { status: null, at: 0, failed: 0, samples: [], unpausedAt: null, goesBackAt: null };
const POLL = 2000;
/** Five minutes of samples. */
const SAMPLES = 150;

async function pollStatus() {
  try {
    const answer = await call("/api/v1/status?counters=false");
    if (answer.status === 401) {
      say("state", "Token needed", "warn");
      const why = answer.hadToken ? "That was not weir’s token." : "From another host, weir wants its token.";
      if (!asking && (await askToken(why))) await pollStatus();
      return;
    }
    if (!answer.ok) throw new Error(answer.document.detail);
    showStatus(answer.document);
  } catch {
    shown.failed ||= now();
    if (shown.status === null) say("state", "No answer", "bad");
    showStanding();
  }
}

function showStatus(status) {
  shown.status = status;
  shown.at = now();
  shown.failed = 0;
  shown.unpausedAt = status.paused_secs === null ? null : shown.at + status.paused_secs;
  shown.goesBackAt = status.unconfirmed_secs === null ? null : shown.at + status.unconfirmed_secs;
  const last = shown.samples.at(-1);
  // Counters begin anew with another daemon.
  if (last && (status.pid !== last.pid || status.uptime_secs < last.uptime)) shown.samples = [];
  shown.samples.push(sample(status));
  if (shown.samples.length > SAMPLES + 1) shown.samples.shift();
  showStanding();
  showTiles();
  showTables();
  if (chosen("range") === "live") drawChart(liveFrame());
}

/** What the chart of the last minutes is made of. */
function sample(status) {
  const lines = new Map();
  for (const rule of status.rules) {
    if (rule.action === "allow") continue;
    for (const direction of ["out", "in"]) lines.set(`${rule.name}\n${rule.action}\n${direction}`, rule[direction]);
  }
  return { at: shown.at, pid: status.pid, uptime: status.uptime_secs, dropped: status.dropped, seen: status.seen, lines };
}

const notFiltered = (status) => status.devices.filter((device) => device.state === "dead" || device.attach === "none");
const blocking = (status) => status.rules.filter((rule) => rule.action === "block" && !rule.retired && !status.resting.includes(rule.name));
const stale = (status) => status.lists.filter((list) => list.state === "stale");

/** The one word for how weir stands, and why. */
function standing() {
  const { status } = shown;
  if (status === null) return shown.failed ? ["bad", "No answer", "weir does not answer"] : ["loading", "Loading", ""];
  if (shown.failed) return ["bad", "No answer", "the figures are old"];
  const dead = notFiltered(status);
  if (dead.length > 0) return ["bad", "Not enforcing", `on ${dead.map((device) => device.name).join(", ")}`];
  if (status.paused_secs !== null) return ["warn", "Paused", "block rules only count"];
  if (status.degraded.length + stale(status).length > 0) return ["warn", "Degraded", "see above"];
  if (blocking(status).length === 0) return ["warn", "Counting only", "no rule blocks now"];
  if (status.devices.every((device) => device.state === "unproven")) return ["good", "Enforcing", "no traffic yet"];
  return ["good", "Enforcing", `on ${status.devices.map((device) => device.name).join(", ")}`];
}

function showStanding() {
  const { status } = shown;
  const [state, word, why] = standing();
  say("state", word, state);
  say("t-health", word, state);
  say("t-health-sub", why);
  document.title = status === null ? "weir" : `${word} · weir`;
  for (const id of ["t-blocked", "t-rate", "t-share", "t-generation"]) $(id).classList.toggle("faint", shown.failed > 0);
  showBanners(state);
  if (status === null) return;
  say("about", `weir ${status.version}, up ${span(status.uptime_secs)}`);
  $("resume").hidden = status.paused_secs === null;
  $("update").hidden = status.lists.length === 0;
}

/** What needs the operator's eyes. Rebuilt only where it changes, so that its buttons keep the focus. */
function showBanners() {
  const { status } = shown;
  const banners = [];
  if (shown.failed) {
    const since = status === null ? "" : ` since ${local.format(new Date(shown.at * 1000))}`;
    banners.push(["bad", `No answer from weir${since}`, ["Nothing is blocked without a running weir. On the host, weir status and the log say what happened."]]);
  }
  if (status !== null) {
    const dead = notFiltered(status).map((device) => `${device.name}: packets pass unfiltered (attached: ${device.attach}); weir status and the log say why`);
    if (dead.length > 0) banners.push(["bad", "NOT ENFORCING", dead]);
    const faults = status.degraded.concat(stale(status).map((list) => `the copy of ${list.source}${list.asn === null ? "" : ` for AS${list.asn}`} is old: ${list.problem ?? "it was not asked for long"}`));
    if (faults.length > 0) banners.push(["warn", "Degraded", faults]);
    if (status.paused_secs !== null) banners.push(["warn", "Paused: nothing is blocked", ["What would have been dropped is counted."], "unpaused"]);
    if (status.unconfirmed_secs !== null) banners.push(["warn", "A change waits for your confirmation", ["Without it, the rules before come back by themselves."], "goesback"]);
    else if (status.rejected !== null) banners.push(["warn", "A change was rolled back", ["The configuration file still holds it. Correct the file, then apply it."]]);
  }
  const key = JSON.stringify(banners);
  const place = $("banners");
  if (place.dataset.key !== key) {
    place.dataset.key = key;
    place.replaceChildren(...banners.map(banner));
  }
  tick();
}

function banner([kind, title, lines, special]) {
  const text = lines.length === 1 ? make("span", {}, lines[0]) : make("ul", {}, ...lines.map((line) => make("li", {}, line)));
  const box = make("div", { class: `banner ${kind}`, role: kind === "bad" ? "alert" : null }, make("div", {}, make("strong", {}, title), text));
  const button = (name, path, main) => {
    const element = make("button", { type: "button", class: main ? "main" : null }, name);
    element.addEventListener("click", () => act(path, {}, element));
    return element;
  };
  if (special === "unpaused") {
    box.append(make("span", {}, "Blocks again in ", make("b", { id: "left-pause" })), make("div", { class: "buttons" }, button("Resume now", "/api/v1/resume", true)));
  }
  if (special === "goesback") {
    box.append(make("span", {}, "Goes back in ", make("b", { id: "left-change" })),
      make("div", { class: "buttons" }, button("Confirm", "/api/v1/confirm", true), button("Roll back", "/api/v1/rollback")));
  }
  return box;
}

/** Countdowns run on between two answers. */
function tick() {
  if ($("left-pause") && shown.unpausedAt) say("left-pause", clock(shown.unpausedAt - now()));
  if ($("left-change") && shown.goesBackAt) say("left-change", clock(shown.goesBackAt - now()));
}

/** Why nothing was blocked: there is a difference between a quiet network and a filter that does not work. */
function whyNothing(status) {
  if (notFiltered(status).length > 0) return "because nothing is enforced";
  if (status.paused_secs !== null) return "because weir is paused";
  if (blocking(status).length === 0) return "because no rule blocks now; matches are counted";
  if (status.seen.packets === 0) return "no packet was seen yet";
  return `no packet met a block rule; ${packets(status.seen.packets)} seen`;
}

function showTiles() {
  const { status, samples } = shown;
  const day = past.day;
  const kept = day !== null && day.recorded;
  const total = kept ? day.blocked : status.dropped;
  say("t-blocked-head", kept ? "Blocked, 24 h" : "Blocked so far");
  say("t-blocked", bytes(total.bytes));
  say("t-blocked-sub", total.packets > 0 ? packets(total.packets) : whyNothing(status));

  const before = samples.at(-6) ?? samples[0];
  const last = samples.at(-1);
  const seconds = last.at - before.at;
  const rate = (of, unit) => Math.max(0, of(last)[unit] - of(before)[unit]) / seconds;
  if (seconds > 0) {
    const dropped = (at) => at.dropped;
    say("t-rate", bytes(rate(dropped, "bytes"), "/s"));
    const [blocked, seen] = [rate(dropped, "packets"), rate((at) => at.seen, "packets")];
    const figure = (value) => value.toLocaleString(undefined, { maximumFractionDigits: seen < 10 ? 1 : 0 });
    say("t-rate-sub", `${figure(blocked)} of ${figure(seen)} packets/s`);
  }
  const share = status.seen.bytes > 0 ? status.dropped.bytes / status.seen.bytes : 0;
  say("t-share", share > 0 && share < 0.0001 ? "< 0.01 %" : percent(share));
  say("t-share-sub", `of ${bytes(status.seen.bytes)} so far`);
  say("t-generation", whole.format(status.generation));
  const fetched = status.lists.map((list) => list.fetched).filter((time) => time !== null);
  const age = fetched.length > 0 ? `oldest list: ${span(now() - Math.min(...fetched))}` : "no list is fetched";
  const missing = status.lists.filter((list) => list.state === "missing").length;
  say("t-generation-sub", missing > 0 ? `${age}; ${missing} missing` : age);
}

function showTables() {
  const { status } = shown;
  const amount = (tally) => (tally.packets === 0 ? "0" : `${bytes(tally.bytes)} (${whole.format(tally.packets)})`);
  table("rules", [["Rule"], ["Action"], ["To it", "num"], ["From it", "num"], ["Last hit"]], status.rules.map((rule) => {
    const action = { block: "bad", monitor: "warn", allow: "good" }[rule.action];
    const notes = [];
    if (rule.retired) notes.push(tag("earlier", null, "No longer in force in this form; its counters stay"));
    if (status.resting.includes(rule.name)) notes.push(tag("resting", null, "Its schedule switches it off now"));
    const name = make("span", {}, rule.name, ...notes.flatMap((note) => [" ", note]));
    return [name, tag(rule.action, action), amount(rule.out), amount(rule.in), ago(rule.last) ?? "never"];
  }), "There are no rules.");
  if (past.clients === null) showClients();
  const states = { live: ["live", "good"], unproven: ["no traffic yet", ""], dead: ["NOT FILTERED", "bad"] };
  table("devices", [["Device"], ["Attached"], ["State"], ["Filters"], ["Seen", "num"], ["IPv4 / IPv6 / other", "num"]], status.devices.map((device) => {
    const { ipv4, ipv6, non_ip: other, truncated } = device.parsed;
    return [device.name, device.attach, tag(...(states[device.state] ?? [device.state, ""])), device.egress ? "in and out" : "in", amount(device.seen),
      [ipv4, ipv6, other + truncated].map((count) => whole.format(count)).join(" / ")];
  }), "There are no devices.");
  const kinds = { good: "good", failing: "warn", stale: "bad", missing: "bad" };
  table("lists", [["Source"], ["State"], ["Ranges", "num"], ["Asked"], ["Changed"], ["Next"]], status.lists.map((list) => {
    const name = make("span", { title: list.location }, list.asn === null ? list.source : `${list.source} AS${list.asn}`);
    const state = make("span", { class: "problem" }, tag(list.asking ? "asking" : list.state, kinds[list.state]), list.problem ? ` ${list.problem}` : "");
    return [name, state, whole.format(list.ranges), ago(list.fetched), ago(list.changed), list.asking ? "now" : span(list.next_secs)];
  }), "No list is fetched: rules name what is compiled in, written out or in files.");
}

/* ---- the past ---- */

const past = { frame: null, day: null, clients: null };
const covers = (gaps, since, until) => gaps.some((gap) => gap.device == null && gap.begin <= since && gap.end >= until);

async function history(query) {
  const answer = await call(`/api/v1/history?${query}`);
  return answer.ok ? answer.document : null;
}

/** The frame that the chart shows: rates by time. */
async function pollChart() {
  const range = chosen("range");
  if (range === "live") return drawChart(liveFrame());
  try {
    const series = await history(`range=${range}&by=${chosen("by")}`);
    if (series === null || chosen("range") !== range) return;
    const { step, times, gaps } = series;
    const since = times[0] ?? now();
    const until = times.length > 0 ? times.at(-1) + step : now();
    // The last step is not over yet: its rate is that of the time that has passed.
    const passed = Math.min(step, Math.max(10, now() - (until - step)));
    const order = new Map((shown.status?.rules ?? []).map((rule, at) => [rule.name, at]));
    const lines = series.lines.filter((line) => line.action !== "allow").map((line) => ({
      name: label(line), packets: sum(line.packets), bytes: sum(line.bytes),
      place: order.get(line.name) ?? order.size, rates: line.bytes.map((value, at) => value / (at === times.length - 1 ? passed : step)),
    })).sort((a, b) => a.place - b.place);
    drawChart({ range, step, times, until, lines, gaps: gaps.map(({ begin, end, why }) => ({ begin: Math.max(begin, since), end: Math.min(end, until), why })) });
  } catch {
    // The status says that nobody answers.
  }
}

/** What the last day was: for the first tile and the table of clients. */
async function pollDay() {
  try {
    const series = await history("range=24h&by=direction");
    if (series === null) return;
    const end = series.times.length > 0 ? series.times.at(-1) + series.step : 0;
    const recorded = series.times.length > 0 && !covers(series.gaps, series.times[0], end);
    const blocked = series.lines.filter((line) => line.action === "block");
    past.day = { recorded, blocked: { packets: sum(blocked.flatMap((line) => line.packets)), bytes: sum(blocked.flatMap((line) => line.bytes)) } };
    if (shown.status !== null) showTiles();
    const answer = recorded ? await call("/api/v1/report?range=24h") : null;
    past.clients = answer?.ok ? answer.document.clients : null;
    showClients();
  } catch {
    // The status says that nobody answers.
  }
}

/** Who met the rules: in the last day where that is recorded, else since weir runs. */
function showClients() {
  if (shown.status === null) return;
  say("clients-span", past.clients === null ? "so far" : "24 h");
  const rows = (past.clients ?? shown.status.clients).filter((client) => client.dropped.packets + client.monitored.packets > 0);
  table("clients", [["Client"], ["Blocked", "num"], ["Packets", "num"], ["Only counted", "num"]], rows.slice(0, 20).map((row) => [
    row.client ?? "others, not told apart", bytes(row.dropped.bytes), whole.format(row.dropped.packets), bytes(row.monitored.bytes),
  ]), "No client met a rule.");
}

/** The latest drops, one by one. */
async function pollDrops() {
  try {
    const answer = await call("/api/v1/events?limit=50");
    if (!answer.ok) return;
    const end = (address, port) => (port === undefined ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);
    table("drops", [["Time"], ["Packet"], ["From"], ["To"], ["Protocol"], ["Rule"], ["Device"], ["Bytes", "num"]], answer.document.events.map((event) => [
      clockTime(event.timestamp), event.event_type === "drop" ? tag("dropped", "bad") : tag("would drop", "warn"), end(event.src_ip, event.src_port),
      end(event.dest_ip, event.dest_port), event.proto, event.drop.rules.join(", "), `${event.drop.device} ${event.drop.hook}`, whole.format(event.drop.len),
    ]), "No drop was reported since weir started.");
  } catch {
    // The status says that nobody answers.
  }
}

const clockTime = (text) => make("time", { datetime: text, title: `${text.replace("T", " ").replace("Z", "")} UTC` }, precise.format(new Date(text)));

const sum = (values) => values.reduce((all, value) => all + value, 0);
const label = (line) => (line.action === "block" ? line.name : `${line.name} (${line.action})`);

/** The last minutes, from what was polled. */
function liveFrame() {
  const { samples } = shown;
  const byRule = chosen("by") === "rule";
  const lines = new Map();
  const times = [];
  for (let at = 1; at < samples.length; at += 1) {
    const [before, after] = [samples[at - 1], samples[at]];
    const seconds = after.at - before.at;
    for (const [key, tally] of after.lines) {
      const [name, action, direction] = key.split("\n");
      const title = label({ name: byRule ? name : direction, action });
      if (!lines.has(title)) lines.set(title, { name: title, packets: 0, bytes: 0, rates: Array(samples.length - 1).fill(0) });
      const earlier = before.lines.get(key) ?? { packets: 0, bytes: 0 };
      const line = lines.get(title);
      line.packets += tally.packets - earlier.packets;
      line.bytes += tally.bytes - earlier.bytes;
      line.rates[at - 1] += Math.max(0, tally.bytes - earlier.bytes) / seconds;
    }
    times.push(before.at);
  }
  const until = samples.at(-1)?.at ?? now();
  const gaps = times.flatMap((begin, at) => {
    const end = times[at + 1] ?? until;
    return end - begin > 3 * POLL / 1000 ? [{ begin, end, why: "this page did not ask" }] : [];
  });
  return { range: "live", step: POLL / 1000, times, until, since: until - 300, lines: [...lines.values()], gaps };
}

/* ---- the chart ---- */

const COLOURS = 8;
const HEIGHT = 230;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
const chart = { plot: null, shape: "", frame: null, stacked: [], hover: null };
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const precise = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayOnly = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });
const RANGES = { live: "5 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days" };

/** A line keeps its colour as long as the page is open, whatever else is shown beside it. */
const colours = new Map();
function colour(line) {
  if (line.others) return `--c${COLOURS}`;
  if (!colours.has(line.name)) colours.set(line.name, colours.size % (COLOURS - 1) + 1);
  return `--c${colours.get(line.name)}`;
}

/** Keeps the largest lines and adds up the others: more colours than these cannot be told apart. */
function fold(lines) {
  const busy = lines.filter((line) => line.packets > 0);
  if (busy.length < COLOURS) return busy;
  const order = [...busy].sort((a, b) => b.bytes - a.bytes);
  const [kept, rest] = [new Set(order.slice(0, COLOURS - 1)), order.slice(COLOURS - 1)];
  const others = { others: true, name: `${rest.length} others`, packets: sum(rest.map((line) => line.packets)), bytes: sum(rest.map((line) => line.bytes)) };
  others.rates = rest[0].rates.map((_, at) => sum(rest.map((line) => line.rates[at])));
  return [...busy.filter((line) => kept.has(line)), others];
}

function drawChart(frame) {
  const lines = fold(frame.lines);
  chart.frame = { ...frame, lines };
  // Each line is drawn as the sum of itself and those before it, the largest sum first: later areas cover it.
  const sums = [];
  lines.forEach((line, at) => sums.push(line.rates.map((value, i) => value + (at > 0 ? sums[at - 1][i] : 0))));
  const times = frame.times.concat(frame.times.length > 0 ? [frame.until] : []);
  // A step lasts until the next one begins, the last one until the end.
  const held = sums.map((values) => (values.length > 0 ? values.concat(values.at(-1)) : values));
  chart.stacked = [times, ...held.reverse()];
  const shape = JSON.stringify([frame.range, lines.map((line) => line.name)]);
  if (chart.plot === null || chart.shape !== shape) buildPlot(shape);
  else chart.plot.setData(chart.stacked);
  showLegend();
  showChartTable();
  describeChart();
}

function buildPlot(shape) {
  chart.plot?.destroy();
  chart.shape = shape;
  const { lines, range } = chart.frame;
  const place = $("chart");
  const axis = { stroke: css("--faint"), font: "12px system-ui, sans-serif", grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 5 } };
  const stepped = uPlot.paths.stepped({ align: 1 });
  const series = lines.map((line) => ({ label: line.name, stroke: css(colour(line)), fill: css(colour(line)), width: 1, paths: stepped, points: { show: false } })).reverse();
  const increments = [];
  for (let unit = 1; unit < 2 ** 60; unit *= 1024) for (let step = 1; step < 1024; step *= 2) increments.push(step * unit);
  chart.plot = new uPlot({
    width: Math.max(200, place.clientWidth), height: HEIGHT, ms: 1e-3, drawOrder: ["series", "axes"],
    padding: [8, range === "live" ? 28 : 18, 0, 0], legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
    scales: {
      x: { time: true, range: () => [chart.frame.since ?? chart.frame.times[0] ?? now() - 3600, chart.frame.until] },
      y: { range: (_, __, most) => [0, Math.max(most * 1.08, 16)] },
    },
    axes: [
      { ...axis, size: 34, space: range === "live" ? 72 : 56, incrs: TIME_STEPS, values: (_, splits) => splits.map((at) => axisTime(at, range)) },
      { ...axis, size: 74, incrs: increments, values: (_, splits) => splits.map((value) => (value === 0 ? "0" : bytes(value, "/s").replace(/[.,]0+(?=\D)/, ""))) },
    ],
    series: [{}, ...series],
    hooks: { drawClear: [shadeGaps], setCursor: [(plot) => { chart.hover = plot.cursor.idx; showLegend(); }] },
  }, chart.stacked, place);
}

function axisTime(at, range) {
  const date = new Date(at * 1000);
  if (range === "live") return precise.format(date);
  return range === "7d" && date.getHours() === 0 ? dayOnly.format(date) : short.format(date);
}

/** Where nothing was recorded, the ground is hatched: no figure is not the figure 0. */
function shadeGaps(plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = css("--gap");
  ctx.lineWidth = devicePixelRatio;
  for (const gap of chart.frame.gaps) {
    const left = Math.max(bbox.left, plot.valToPos(gap.begin, "x", true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos(gap.end, "x", true));
    if (right <= left) continue;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bbox.top, Math.max(right - left, devicePixelRatio), bbox.height);
    ctx.clip();
    ctx.beginPath();
    for (let x = left - bbox.height; x < right; x += 8 * devicePixelRatio) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.globalAlpha = 0.55;
    ctx.stroke();
    ctx.restore();
  }
  ctx.restore();
}

/** What the colours mean; the sums, or the rates under the pointer. */
function showLegend() {
  const { frame } = chart;
  const at = chart.hover !== null && chart.hover < frame.times.length ? chart.hover : null;
  const place = $("legend");
  const key = JSON.stringify(frame.lines.map((line) => line.name));
  if (place.dataset.key !== key) {
    place.dataset.key = key;
    place.replaceChildren(...frame.lines.map((line) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = `var(${colour(line)})`;
      return make("li", {}, swatch, make("span", {}, line.name), make("b", {}));
    }));
  }
  frame.lines.forEach((line, index) => {
    place.children[index].lastChild.textContent = at === null ? bytes(line.bytes) : bytes(line.rates[at], "/s");
  });
  const note = [];
  if (at !== null) note.push(`${(frame.range === "live" ? precise : local).format(new Date(frame.times[at] * 1000))}, ${span(frame.step)}`);
  else if (frame.lines.length === 0) note.push(emptyChart(frame));
  if (frame.gaps.length > 0) {
    const under = at === null ? null : frame.gaps.find((gap) => gap.begin <= frame.times[at] && frame.times[at] < gap.end);
    if (under) note.push(`not recorded: ${under.why}`);
    else if (at === null) note.push(`hatched: not recorded (${span(sum(frame.gaps.map((gap) => gap.end - gap.begin)))})`);
  }
  say("chart-note", note.join("; "));
}

function emptyChart(frame) {
  if (frame.range === "live" && frame.times.length < 2) return "Collecting the first figures";
  return "No packet met a rule that blocks or monitors in this time";
}

function showChartTable() {
  if (!$("chart-table").closest("details").open) return;
  const { frame } = chart;
  const rows = frame.times.map((time, at) => [when(time), ...frame.lines.map((line) => bytes(line.rates[at], "/s"))]).reverse();
  table("chart-table", [["Time"], ...frame.lines.map((line) => [line.name, "num"])], rows.slice(0, 200), "There are no figures.");
}

function describeChart() {
  const { frame } = chart;
  const words = frame.lines.map((line) => `${line.name} ${bytes(line.bytes)}`);
  const text = `Chart of the last ${RANGES[frame.range]}: ${words.length > 0 ? words.join(", ") : "no packet met a rule"}`;
  if ($("chart").getAttribute("aria-label") !== text) $("chart").setAttribute("aria-label", text);
}

/* ---- why is this address blocked? ---- */

async function explain(event) {
  event.preventDefault();
  const place = $("answer");
  const address = $("address").value.trim();
  if (address === "") return place.replaceChildren("Give an IPv4 or IPv6 address.");
  if (!/^[0-9a-f:.]+$/i.test(address)) return place.replaceChildren(`“${address}” is no address: weir blocks by address, so look a name up first.`);
  try {
    const { ok, document: answer } = await call(`/api/v1/explain?address=${encodeURIComponent(address)}`);
    if (!ok) return place.replaceChildren(answer.detail);
    const verdict = (text, drop) => make("span", {}, `${text} `, tag(drop ? "dropped" : "passes", drop ? "bad" : "good"));
    const lines = [
      make("p", { class: "verdicts" }, make("strong", {}, answer.address), verdict("to it:", answer.verdict_out === "drop"), verdict("from it:", answer.verdict_in === "drop")),
      make("p", {}, `${answer.why[0].toUpperCase()}${answer.why.slice(1)}.`),
    ];
    if (answer.rules.length > 0) {
      const box = make("table", { id: "answer-rules" });
      lines.push(make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Rules that list the address" }, box));
      place.replaceChildren(...lines);
      table("answer-rules", [["Rule"], ["Action"], ["Direction"], ["Prefix"], ["AS"], ["List"], ["Source"], ["Since"]], answer.rules.map((rule) => [
        rule.scope === null ? rule.name : `${rule.name} (only ${rule.scope})`, rule.resting ? `${rule.action}, resting` : rule.action, rule.direction,
        rule.prefix, rule.asn === null ? null : `AS${rule.asn}`, rule.list, rule.source, when(rule.since),
      ]), "");
    } else place.replaceChildren(...lines);
  } catch {
    place.replaceChildren("weir did not answer; try again.");
  }
}

/* ---- start ---- */

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

/** Calls `poll` again and again while somebody looks. */
function keep(poll, period) {
  let timer = 0;
  let busy = false;
  const run = async () => {
    clearTimeout(timer);
    if (document.hidden || busy) return;
    busy = true;
    await poll();
    busy = false;
    timer = setTimeout(run, period());
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) run(); });
  run();
}

function start() {
  for (const button of document.querySelectorAll("button[data-pause]")) {
    button.addEventListener("click", () => act("/api/v1/pause", { secs: Number(button.dataset.pause) }, button));
  }
  $("resume").addEventListener("click", (event) => act("/api/v1/resume", {}, event.currentTarget));
  $("update").addEventListener("click", (event) => act("/api/v1/update", {}, event.currentTarget));
  $("why").addEventListener("submit", explain);
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("token-text").value.trim();
    // A header takes visible characters only.
    if (/^[\x21-\x7e]+$/.test(text)) sessionStorage.setItem(TOKEN, text);
    $("token").close();
  });
  $("token-cancel").addEventListener("click", () => $("token").close());
  $("forget").addEventListener("click", () => { sessionStorage.removeItem(TOKEN); showForget(); });
  for (const input of document.querySelectorAll("input[name=range], input[name=by]")) {
    input.addEventListener("change", () => { chart.hover = null; pollChart(); });
  }
  document.querySelector("details").addEventListener("toggle", showChartTable);
  const redraw = () => { if (chart.plot) buildPlot(chart.shape); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(() => chart.plot?.setSize({ width: Math.max(200, $("chart").clientWidth), height: HEIGHT })).observe($("chart"));
  showForget();
  setInterval(tick, 1000);
  keep(pollStatus, () => POLL);
  keep(pollChart, () => (chosen("range") === "1h" ? 5000 : 30000));
  keep(pollDay, () => 10000);
  keep(pollDrops, () => 5000);
}

start();
