// SPDX-License-Identifier: Apache-2.0
// The page: one topology, and its views, which all show the same selection and search.

import { signIn } from "./api.js";
import { Diagram } from "./diagram.js";
import { byId, el, glyph } from "./dom.js";
import { Feed } from "./feed.js";
import { hashOf, nameIn, Topology } from "./model.js";
import { Outline } from "./outline.js";
import { Panel } from "./panel.js";
import { canTrace, Trace } from "./trace.js";
import { KINDS, plural, STATES, stateOf } from "./words.js";

const PRODUCT = "Portico";
const topology = new Topology();
const outline = new Outline(byId("outline"), select);
const diagram = new Diagram(byId("diagram"), select);
const panel = new Panel(byId("panel"), topology, follow);
const trace = new Trace(topology, { onPath: (hops, passes) => diagram.trace(hops, passes), onSelect: follow });
const search = byId("search");
let words = [];
let selected = "";
let told = 0;
let isDue = false;
let isFirst = true;
let offered = null;

const say = (text) => (byId("status").textContent = text);
const announce = (text) => (byId("announcement").textContent = text);
/** The object that the address names; "" if it names none. */
const nameInHash = () => nameIn(location.hash);

function select(name) {
  if (name !== nameInHash()) history.pushState(null, "", hashOf(name));
  show(name);
}

/** Go where a link leads that is not there any more then: the focus goes along. */
function follow(name) {
  select(name);
  byId("panel-title")?.focus();
}

function show(name) {
  selected = name;
  openTab("details");
  mark();
  outline.select(name);
  diagram.reveal(name);
  panel.show(name);
  const title = entitle();
  if (title) announce(`Details: ${KINDS[name.split("/")[0]].word} ${title}`);
}

/** Name the window after what is selected; returns its title, "" if there is nothing of that name. */
function entitle() {
  const object = topology.find(selected);
  const title = object ? topology.title(selected.split("/")[0], object) : "";
  document.title = title ? `${title} · ${PRODUCT}` : PRODUCT;
  return title;
}

/** Let what shows the selection follow what has become of it. */
function keepUp() {
  mark();
  const wasThere = document.title !== PRODUCT;
  if (!entitle() && wasThere) announce("What was shown is gone, or not for you to see.");
}

function mark() {
  diagram.select(selected.split("/")[0], topology.find(selected), selected);
}

/** Draw what has changed with the next frame; `since` is when the watch told of it. */
function draw(since) {
  told ||= since;
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    outline.draw(topology, words);
    diagram.draw(topology, words);
    counts();
    if (selected && isFirst) show(selected);
    else if (selected) keepUp();
    isFirst = false;
    panel.refresh();
    byId("empty").hidden = topology.networks.length > 0;
    document.body.dataset.revision = topology.revision;
    if (told) performance.measure("portico:update", { start: told });
    else performance.mark("portico:drawn");
    told = 0;
    offerTrace();
  });
}

/** Show the form for traces if this server can trace; asked once who asks is known. */
function offerTrace() {
  offered ??= canTrace().then((can) => (byId("tab-trace").hidden = !can), () => (offered = null));
}

/** How many ports are in which state, each a way to find them. */
function counts() {
  const ports = [...topology.portsOf.values()].flat();
  const of = new Map();
  for (const port of ports) of.set(stateOf(port), (of.get(stateOf(port)) ?? 0) + 1);
  const parts = Object.keys(STATES).filter((state) => of.has(state)).map((state) => {
    const find = () => searchFor(`port ${STATES[state].word}`);
    return el("button", { type: "button", class: `count ${STATES[state].tone}`, onclick: find },
      glyph(state), `${of.get(state).toLocaleString("en")} ${STATES[state].word}`);
  });
  const known = [plural(topology.networks.length, "network"), plural(ports.length, "port")];
  if (topology.routers.length > 0) known.push(plural(topology.routers.length, "router"));
  if (topology.floatingips.length > 0) known.push(plural(topology.floatingips.length, "floating IP"));
  const text = known.join(" · ");
  const about = text + [...of.entries()].join();
  if (byId("counts").about === about) return;
  byId("counts").about = about;
  byId("counts").replaceChildren(el("span", {}, text), ...parts);
}

function searchFor(text) {
  search.value = text;
  words = text.toLowerCase().split(/\s+/).filter(Boolean);
  outline.draw(topology, words);
  diagram.draw(topology, words);
  if (words.length === 0) return say("");
  const found = ["network", "router", "floatingip", "workload", "port"].map((kind) => {
    const count = [...topology[kind].values()].filter((object) => topology.matches(kind, object, words)).length;
    return count > 0 ? plural(count, KINDS[kind].word.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase())) : "";
  }).filter(Boolean);
  say(found.length > 0 ? `Found ${found.join(", ")}` : "Nothing found");
}

function openTab(name) {
  if (name === "trace" && selected.startsWith("port/")) trace.from(topology.find(selected));
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const isOpen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", isOpen);
    tab.tabIndex = isOpen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !isOpen;
  }
}

function connect() {
  const pill = byId("connection");
  const texts = { live: "Live", polling: "Read every 5 s", lost: "Connection lost", refused: "Signed out" };
  new Feed(topology, {
    onChange: draw,
    onState: (state, why) => {
      if (pill.dataset.state === state && pill.title === why) return;
      pill.dataset.state = state;
      pill.title = why;
      pill.querySelector("span").textContent = texts[state];
      say(["lost", "refused"].includes(state) ? `${texts[state]}${why ? `: ${why}` : ""}` : "");
    },
    onRefused: askForToken,
  }).follow();
}

/** Ask for a token, and return when one is given. With a password the browser itself has asked. */
function askForToken(error) {
  const dialog = byId("sign-in");
  const isPassword = error.challenge.startsWith("Basic");
  byId("sign-in-why").textContent = isPassword ? "The server asks for a user and a password: load the page anew." : error.message;
  byId("sign-in-token").hidden = isPassword;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      signIn(byId("token").value.trim());
      byId("token").value = "";
      resolve();
    }, { once: true });
  });
}

function listen() {
  search.addEventListener("input", () => searchFor(search.value));
  search.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = words.length > 0 && outline.firstFound();
    if (first) select(first);
  });
  addEventListener("keydown", (event) => {
    const isTyping = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName);
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && search.value && isTyping) searchFor("");
  });
  addEventListener("hashchange", () => (nameInHash() || !location.hash) && show(nameInHash()));
  addEventListener("resize", () => draw(0));
  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("sign-in").close();
  });
  byId("zoom-in").addEventListener("click", () => diagram.zoomIn());
  byId("zoom-out").addEventListener("click", () => diagram.zoomOut());
  byId("zoom-fit").addEventListener("click", () => diagram.fit());
  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.addEventListener("click", () => openTab(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = document.querySelector("[role=tab]:not([hidden]):not([aria-selected=true])");
      if (other) openTab(other.id.slice(4));
      other?.focus();
    });
  }
}

listen();
connect();
if (nameInHash()) show(nameInHash());
else panel.draw();
