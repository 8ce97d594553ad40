"use strict";

// The page asks for stats.json once a second, and changes what is there: nothing is made anew that somebody may have
// the focus on, or may have scrolled.

const span = 300; // seconds that are shown
const pools = []; // one for each source, in their order
let last = 0; // the time of the newest snapshot that is here
let since = 0; // when the handler was made: another program has another one
let paused = false;
let timer = 0;
let asking = false;

const $ = (of, what) => of.querySelector(what);
const count = (n) => Math.round(n).toLocaleString("en");
const rate = (n) => (n === 0 ? "0" : n < 10 ? n.toFixed(1) : count(n));

// time writes seconds for people, with three digits at most.
function time(s) {
	if (s === null) return "over 18 min";
	if (s >= 1e9) return "over 18 min";
	if (s >= 36000) return Math.round(s / 3600) + " h";
	if (s >= 3600) return (s / 3600).toFixed(1) + " h";
	if (s >= 600) return Math.round(s / 60) + " min";
	if (s >= 60) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
	for (const [unit, name] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]) {
		if (s >= unit || unit === 1e-9) {
			const v = s / unit;
			return (v >= 100 ? Math.round(v) : Number(v.toPrecision(3))) + " " + name;
		}
	}
}

function element(name, className, text) {
	const e = document.createElement(name);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

function drawn(name, className, attributes) {
	const e = document.createElementNS("http://www.w3.org/2000/svg", name);
	if (className) e.setAttribute("class", className);
	for (const a in attributes) e.setAttribute(a, attributes[a]);
	return e;
}

const set = (e, text) => { if (e.textContent !== text) e.textContent = text; };

// rows fills a table, keeping the rows that are there. Each cell is a text, or {text, kind, title}.
function rows(body, wanted) {
	while (body.rows.length > wanted.length) body.deleteRow(-1);
	wanted.forEach((cells, i) => {
		const row = body.rows[i] || body.insertRow();
		while (row.cells.length > cells.length) row.deleteCell(-1);
		cells.forEach((c, j) => {
			const cell = row.cells[j] || row.insertCell();
			const { text, kind = "", span = 1 } = typeof c === "object" ? c : { text: c };
			set(cell, text);
			if (cell.className !== kind) cell.className = kind;
			if (cell.colSpan !== span) cell.colSpan = span;
		});
	});
}

// ceiling returns the top of a scale for values up to v.
function ceiling(v) {
	if (v <= 4) return 4;
	const unit = 10 ** Math.floor(Math.log10(v));
	for (const f of [1, 2, 4, 5, 8, 10]) if (v <= f * unit) return f * unit;
}

// A Chart is a figure that can be read with the pointer, or with the arrow keys when it has the focus.
class Chart {
	constructor(figure) {
		this.figure = figure;
		this.reading = $(figure, ".reading");
		this.svg = drawn("svg", "", { "aria-hidden": "true" });
		figure.insertBefore(this.svg, this.reading);
		this.at = null; // what is read, or null
		const title = $(figure, "h3").textContent;
		figure.setAttribute("aria-label", title + ". Arrow keys read single values.");
		figure.addEventListener("keydown", (e) => {
			const n = this.length();
			const at = this.at === null ? (e.key === "ArrowRight" ? -1 : n) : this.at;
			const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: n - 1 }[e.key];
			if (e.key === "Escape") this.at = null;
			else if (to === undefined || n === 0 || e.ctrlKey || e.altKey || e.metaKey) return;
			else this.at = Math.min(Math.max(to, 0), n - 1);
			e.preventDefault();
			this.draw();
		});
		figure.addEventListener("blur", () => { this.at = null; this.draw(); });
		this.svg.addEventListener("pointermove", (e) => {
			this.at = this.near(e.clientX - this.svg.getBoundingClientRect().left);
			this.draw();
		});
		this.svg.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
		new ResizeObserver(() => this.draw()).observe(this.svg);
	}

	// frame draws scale and axis, and returns where things are.
	frame(top, format) {
		const box = this.svg.getBoundingClientRect();
		const w = Math.max(box.width, 50), h = Math.max(box.height, 50);
		const left = 40, right = w - 4, bottom = h - 17, high = 6;
		this.svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
		const parts = [];
		for (const f of [0, 0.5, 1]) {
			const y = bottom - f * (bottom - high);
			parts.push(drawn("line", f ? "gridline" : "base", { x1: left, x2: right, y1: y, y2: y }));
			const t = drawn("text", "", { x: left - 6, y: y + 4, "text-anchor": "end" });
			t.textContent = format(top * f);
			parts.push(t);
		}
		return { left, right, bottom, high, parts, y: (v) => bottom - Math.min(v / top, 1) * (bottom - high), h };
	}

	label(f, x, text, anchor) {
		const t = drawn("text", "", { x, y: f.h - 3, "text-anchor": anchor });
		t.textContent = text;
		f.parts.push(t);
	}
}

// A History shows series over the last five minutes: areas one on top of the other, and a line.
class History extends Chart {
	constructor(figure, pool, areas, line, tell) {
		super(figure);
		Object.assign(this, { pool, areas, line, tell });
		const legend = $(figure, ".legend");
		for (const [name, text] of line ? [...areas, line] : areas) {
			const item = element("li");
			const sign = element("i", name + (line && name === line[0] ? " line" : ""));
			item.append(sign, text);
			legend.append(item);
		}
	}

	length() { return this.pool.history.time.length; }

	near(x) {
		const t = this.pool.history.time, box = this.svg.getBoundingClientRect();
		if (t.length === 0) return null;
		const wanted = this.pool.now - span + (x - 40) / (box.width - 44) * span;
		let best = 0;
		for (let i = 1; i < t.length; i++) if (Math.abs(t[i] - wanted) < Math.abs(t[best] - wanted)) best = i;
		return best;
	}

	draw() {
		const h = this.pool.history, t = h.time, n = t.length;
		let top = 0;
		for (let i = 0; i < n; i++) {
			let sum = 0;
			for (const [name] of this.areas) sum += h[name][i];
			top = Math.max(top, sum, this.line ? h[this.line[0]][i] : 0);
		}
		const f = this.frame(ceiling(top), (v) => (v >= 10000 ? v / 1000 + "k" : String(v)));
		const x = (i) => f.left + Math.max(0, 1 - (this.pool.now - t[i]) / span) * (f.right - f.left);
		let below = new Array(n).fill(0);
		const shapes = [];
		for (const [name] of this.areas) {
			const above = below.map((v, i) => v + h[name][i]);
			let d = "";
			for (let i = 0; i < n; i++) d += `${i ? "L" : "M"}${x(i).toFixed(1)} ${f.y(above[i]).toFixed(1)}`;
			for (let i = n - 1; i >= 0; i--) d += `L${x(i).toFixed(1)} ${f.y(below[i]).toFixed(1)}`;
			if (n > 1) shapes.push(drawn("path", "area " + name, { d: d + "Z" }));
			below = above;
		}
		if (this.line && n > 1) {
			const d = t.map((_, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${f.y(h[this.line[0]][i]).toFixed(1)}`).join("");
			shapes.push(drawn("path", this.line[0], { d }));
		}
		if (this.at !== null && this.at < n) shapes.push(drawn("line", "cursor", { x1: x(this.at), x2: x(this.at), y1: f.high, y2: f.bottom }));
		for (let m = 5; m >= 0; m--) {
			const at = f.left + (1 - m / 5) * (f.right - f.left);
			this.label(f, at, m ? (f.right > 420 || m !== 4 ? `−${m} min` : "") : "now", m === 5 ? "start" : m ? "middle" : "end");
		}
		this.svg.replaceChildren(...f.parts.slice(0, 6), ...shapes, ...f.parts.slice(6));
		const i = this.at !== null && this.at < n ? this.at : n - 1;
		set(this.reading, i < 0 ? "" : (this.at === null ? "now" : `${Math.round(this.pool.now - t[i])} s ago`) + ": " + this.tell(h, i));
	}
}

// A Histogram shows how many durations there were, a bar for each power of two.
class Histogram extends Chart {
	constructor(figure, none) {
		super(figure);
		this.none = none;
		this.bars = [];
		this.texts = [];
	}

	length() { return this.bars.length; }

	near(x) {
		const box = this.svg.getBoundingClientRect(), n = this.bars.length;
		const i = Math.floor((x - 40) / (box.width - 44) * n);
		return n === 0 ? null : Math.min(Math.max(i, 0), n - 1);
	}

	show(window, all, seconds) {
		const by = new Map();
		for (const b of window.buckets) {
			const power = b.le_seconds === null ? 99 : Math.ceil(Math.log2(b.le_seconds * 1e9) - 1e-6);
			by.set(power, (by.get(power) || 0) + b.count);
		}
		const powers = [...by.keys()].filter((p) => p !== 99);
		this.bars = [];
		if (by.size > 0) {
			let from = powers.length ? Math.min(...powers) : 40, to = powers.length ? Math.max(...powers) : 40;
			while (to - from < 7) { if (to < 40) to++; if (to - from < 7 && from > 10) from--; }
			for (let p = from; p <= to; p++) this.bars.push({ from: p === 10 ? 0 : 2 ** (p - 1) / 1e9, to: 2 ** p / 1e9, n: by.get(p) || 0 });
			if (by.has(99)) this.bars.push({ from: 2 ** 40 / 1e9, to: null, n: by.get(99) });
		}
		this.texts = [summary(recently(seconds), window), summary("in all", all)];
		this.count = all.count;
		this.draw();
	}

	draw() {
		const n = this.bars.length;
		if (this.at !== null && this.at >= n) this.at = null;
		this.svg.classList.toggle("empty", n === 0);
		if (n === 0) {
			set(this.reading, this.count ? this.texts.join("\n") : this.none);
			return;
		}
		const f = this.frame(ceiling(Math.max(0, ...this.bars.map((b) => b.n))), (v) => (v >= 1e6 ? v / 1e6 + "M" : v >= 10000 ? v / 1000 + "k" : String(v)));
		const step = (f.right - f.left) / Math.max(n, 1);
		const shapes = this.bars.map((b, i) => drawn("rect", "bar" + (i === this.at ? " at" : ""), {
			x: f.left + i * step + 1, width: Math.max(step - 2, 1), y: b.n ? Math.min(f.y(b.n), f.bottom - 1) : f.bottom, height: b.n ? Math.max(f.bottom - f.y(b.n), 1) : 0,
		}));
		const every = Math.ceil(n / Math.max(2, Math.floor((f.right - f.left) / 70)));
		this.bars.forEach((b, i) => { if (i % every === 0 && (i + every / 2) * step + 30 < f.right - f.left) this.label(f, f.left + i * step, time(b.from), i ? "middle" : "start"); });
		this.svg.replaceChildren(...f.parts.slice(0, 6), ...shapes, ...f.parts.slice(6));
		const b = this.at === null ? null : this.bars[this.at];
		set(this.reading, b ? (b.to === null ? `over ${time(b.from)}` : `${time(b.from)} to ${time(b.to)}`) + `: ${count(b.n)}` : this.count ? this.texts.join("\n") : this.none);
	}
}

// recently names the time that a window has.
function recently(seconds) {
	return seconds >= 285 ? "last 5 min" : seconds >= 60 ? `last ${Math.round(seconds / 60)} min` : `last ${Math.round(seconds)} s`;
}

// summary tells count, median and 99th percentile of a histogram, which are upper bounds.
function summary(what, h) {
	if (!h.count) return `${what}: none.`;
	const quantile = (q) => {
		let rank = Math.max(1, Math.ceil(q * h.count));
		for (const b of h.buckets) { if (b.count >= rank) return b.le_seconds; rank -= b.count; }
		return null;
	};
	return `${what}: ${count(h.count)}, half ≤ ${time(quantile(0.5))}, 99 % ≤ ${time(quantile(0.99))}.`;
}

class Pool {
	constructor(index) {
		this.root = document.getElementById("pool").content.cloneNode(true).firstElementChild;
		this.root.open = index < 4;
		document.getElementById("pools").append(this.root);
		this.history = {};
		this.now = 0;
		this.tiles = {};
		const on = (what) => $(this.root, what);
		this.occupancy = new History(on(".occupancy"), this, [["active", "active"], ["idle", "idle"], ["opening", "opening"]], ["max", "limit"],
			(h, i) => `${count(h.active[i])} active, ${count(h.idle[i])} idle, ${count(h.opening[i])} opening, limit ${count(h.max[i])}; ${rate(h.opened_per_second[i])} opened and ${rate(h.closed_per_second[i])} closed per s`);
		this.waits = new History(on(".waits"), this, [["waiting", "waiting"]], null,
			(h, i) => `${count(h.waiting[i])} waiting; per s ${rate(h.gets_per_second[i])} leases, ${rate(h.waits_per_second[i])} waits, ${rate(h.failed_per_second[i])} failed` + (h.wait_p99_seconds[i] ? `; 99 % waited ≤ ${time(h.wait_p99_seconds[i])}` : ""));
		this.hists = {
			wait_time: new Histogram(on(".hist.wait"), "Nobody has waited."),
			open_time: new Histogram(on(".hist.open"), "Nothing has been opened."),
			use_time: new Histogram(on(".hist.use"), "Not counted, or none has ended. Config.TimeUse counts them."),
		};
		this.root.addEventListener("toggle", () => this.draw());
	}

	// take takes in a report.
	take(p, now) {
		this.data = p;
		this.now = now;
		for (const name in p.history) {
			this.history[name] = (this.history[name] || []).concat(p.history[name]);
		}
		const old = this.history.time.findIndex((t) => t >= now - span - 2);
		if (old > 0) {
			for (const name in this.history) this.history[name].splice(0, old);
			for (const c of [this.occupancy, this.waits]) if (c.at !== null) c.at = Math.max(c.at - old, 0);
		}
		this.draw();
	}

	tile(name, value, bad) {
		let t = this.tiles[name];
		if (!t) {
			const box = element("div");
			t = this.tiles[name] = { box, value: element("dd") };
			box.append(element("dt", "", name), t.value);
			$(this.root, ".tiles").append(box);
		}
		set(t.value, value);
		t.box.className = bad ? "bad" : "";
	}

	draw() {
		const p = this.data;
		if (!p) return;
		const s = p.stats, w = p.window, n = this.history.time.length - 1, recent = (name) => (n < 0 ? 0 : this.history[name][n]);
		set($(this.root, ".name"), p.name || "(no name)");
		set($(this.root, ".brief"), `${count(s.active)} of ${count(s.max)} active, ${count(s.waiting)} waiting` + (s.awaiting_budget ? ", the budget is used up" : "") + (s.last_open_error === null ? "" : ", opening fails"));
		if (!this.root.open) return;

		const notice = $(this.root, ".notice");
		notice.hidden = s.last_open_error === null;
		set($(notice, ".error"), s.last_open_error || "");
		this.tile("active", `${count(s.active)} / ${count(s.max)}`);
		this.tile("idle", count(s.idle) + (s.reserved ? ` (${count(s.reserved)} reserved)` : ""));
		this.tile("opening", count(s.opening));
		this.tile("waiting", count(s.waiting), s.waiting > 0);
		this.tile("oldest wait", s.waiting ? time(s.oldest_wait_seconds) : "–");
		this.tile("leases per s", rate(recent("gets_per_second")));
		this.tile("waits per s", rate(recent("waits_per_second")));
		this.tile("failed per s", rate(recent("failed_per_second")), recent("failed_per_second") > 0);
		if (s.awaiting_budget) this.tile("await budget", count(s.awaiting_budget), true);
		else if (this.tiles["await budget"]) this.tile("await budget", "0");

		this.occupancy.draw();
		this.waits.draw();
		for (const name in this.hists) this.hists[name].show(w[name], s[name], w.seconds);

		for (const e of this.root.querySelectorAll("th.window")) set(e, recently(w.seconds));
		const both = (name, field, bad) => [name, { text: count(w[field]), kind: bad && w[field] ? "bad" : "" }, count(s[field])];
		rows($(this.root, ".calls tbody"), [
			both("leases", "gets"),
			both("waited", "waits"),
			both("exhausted: waited too long", "timeouts", true),
			both("unavailable: the server cannot be reached", "unavailable", true),
			both("rejected: too many waiting, or too many pools", "rejected", true),
			both("gone: no longer the same connection", "gone"),
			both("canceled by the caller", "canceled"),
			both("reported as leaked", "leaked", true),
			both("functions that did not return", "abandoned", true),
		]);
		const ends = [both("opened", "opened"), both("could not be opened", "open_errors", true)];
		if (s.detached) ends.push(both("detached", "detached"));
		const total = (of) => Object.values(of).reduce((a, b) => a + b, 0);
		ends.push(["closed", count(total(w.closed)), count(total(s.closed))]);
		for (const reason of Object.keys(s.closed).filter((r) => s.closed[r] > 0).sort((a, b) => s.closed[b] - s.closed[a])) {
			ends.push([{ text: reason, kind: "sub" }, count(w.closed[reason]), count(s.closed[reason])]);
		}
		rows($(this.root, ".ends tbody"), ends);

		const keyed = $(this.root, ".keyed");
		keyed.hidden = p.key_count === undefined;
		if (!keyed.hidden) {
			const keys = p.keys || [];
			set($(keyed, ".count"), of(keys.length, p.key_count, "in most demand"));
			rows($(keyed, "tbody"), keys.length === 0 ? [[{ text: "There are none.", kind: "empty", span: 9 }]] : keys.map((k) => [
				(k.name || "(no name)") + (k.pools > 1 ? ` (${k.pools} pools)` : ""), { text: count(k.waiting), kind: k.waiting ? "bad" : "" }, k.waiting ? time(k.oldest_wait_seconds) : "–", rate(k.gets_per_second),
				count(k.active), count(k.idle), count(k.opening), count(k.gets), count(k.failed),
			]));
		}
		const leases = $(this.root, ".leases tbody");
		set($(leases.closest("section"), ".count"), of(p.leases.length, p.lease_count, "oldest"));
		$(this.root, ".hint").hidden = p.leases.every((l) => l.where);
		rows(leases, p.leases.length === 0 ? [[{ text: "None.", kind: "empty", span: 4 }]] : p.leases.map((l) => [
			"#" + l.number, l.age_seconds === null ? "new" : time(l.age_seconds), time(l.connection_age_seconds), { text: l.where ? place(l.where) : "not noted", kind: "text" },
		]));
	}
}

// place shortens "function file:line < function file:line": packages and files are told by the last elements of their paths. The
// JSON has all of them.
function place(where) {
	return where.split(" < ").map((at) => at.split(" ").map((path) => path.split("/").pop()).join(" ")).join(" < ");
}

// of tells how many of all are shown.
function of(shown, all, which) { return shown < all ? `(${count(shown)} ${which}, of ${count(all)})` : `(${count(all)})`; }

const state = document.getElementById("status");

function say(text, kind) {
	set(state, text);
	state.className = kind;
}

async function ask() {
	clearTimeout(timer);
	if (paused || asking || document.hidden) return;
	asking = true;
	let soon = 1000;
	try {
		const answer = await fetch("stats.json?after=" + last, { cache: "no-store", signal: AbortSignal.timeout(5000) });
		if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
		const report = await answer.json();
		if (!paused) {
			if (take(report)) say("live", "live");
			else soon = 0;
		}
	} catch (e) {
		if (!paused) say(e instanceof TypeError || e.name === "TimeoutError" ? "the server does not answer" : String(e.message), "lost");
	} finally {
		asking = false;
	}
	timer = setTimeout(ask, soon);
}

function take(report) {
	if (report.since !== since) {
		// The first answer, or that of another program, of which only what is new was asked for.
		const again = last !== 0;
		since = report.since;
		last = 0;
		if (again) {
			since = 0;
			return false;
		}
		document.getElementById("pools").replaceChildren();
		pools.length = 0;
		for (const i of report.pools.keys()) pools.push(new Pool(i));
	}
	if (pools.length === 0) document.getElementById("pools").textContent = "There are no pools here.";
	report.pools.forEach((p, i) => pools[i].take(p, report.time));
	for (const p of report.pools) last = Math.max(last, ...p.history.time.slice(-1));
	document.body.dataset.updates = Number(document.body.dataset.updates || 0) + 1;
	return true;
}

document.getElementById("pause").addEventListener("click", (e) => {
	paused = !paused;
	e.target.setAttribute("aria-pressed", String(paused));
	say(paused ? "paused" : "live", paused ? "" : "live");
	if (!paused) ask();
});
document.addEventListener("visibilitychange", ask);
ask();
