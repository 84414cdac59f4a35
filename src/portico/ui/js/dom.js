// SPDX-License-Identifier: Apache-2.0
// Elements of HTML and SVG, made in one expression.

import { STATES } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`) and children; null and false children are left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A state's shape, for those who see; its word must stand beside it or in a label. */
export function glyph(state) {
  const shape = svg("path", { d: STATES[state].shape, "fill-rule": "evenodd" });
  return svg("svg", { class: `glyph ${STATES[state].tone}`, viewBox: "-6 -6 12 12", "aria-hidden": "true" }, shape);
}

export function badge(state) {
  return el("span", { class: `badge ${STATES[state].tone}` }, glyph(state), STATES[state].word);
}
