// SPDX-License-Identifier: Apache-2.0
// A packet's way through the diagram: along the edges of cards and the links between them, never across their text.

const GUTTER = 7; // inside a card, left of its marks
const HALF_CELL = 7.5;
const CROSS = "l16 16m0 -16l-16 16";

/** The path through the places of keys, as SVG takes it; a packet that is stopped ends in a cross. "" if there is none. */
export function wayOf(places, keys, passes) {
  const isStop = (name, at) => places.has(name) && (at === 0 || at === keys.length - 1 || !places.get(name).isCard);
  // Several questions may be asked of one object, one after the other.
  const stops = keys.filter(isStop).map((name) => places.get(name)).filter((place, at, all) => place !== all[at - 1]);
  if (stops.length === 0) return "";
  const steps = stops.slice(1).map((stop, at) => step(stops[at], stop));
  const [before, last] = stops.slice(-2);
  const end = last && !last.card ? door(last, before) : last ?? before;
  const cross = passes ? "" : `M${end.x - 8} ${end.y - 8}${CROSS}`;
  const start = stops[0].card || !last ? stops[0] : door(stops[0], stops[1]);
  return `M${start.x} ${start.y}${steps.join("")}${cross}`;
}

function step(from, to) {
  if (from.card && from.card === to.card) return line([...out(from), ...out(to).reverse(), to]);
  const [left, entered] = [door(from, to), door(to, from)];
  const before = from.card ? [...out(from), { x: out(from)[1].x, y: left.y }, left] : [left];
  const after = to.card ? [{ x: out(to)[1].x, y: entered.y }, ...out(to).reverse(), to] : [];
  return line(before) + curve(left, entered) + line(after);
}

/** From the mark of an item to the edge of its card. */
function out({ x, y, card, isLine }) {
  const beside = isLine ? y : y - HALF_CELL;
  return [{ x, y: beside }, { x: card.left + GUTTER, y: beside }];
}

/** Where the way between two places leaves or enters the first: its card's upper or lower edge, where links end. */
function door(place, other) {
  const box = place.card ?? place;
  const isBelow = (other.card ?? other).top >= box.bottom;
  return { x: box.link, y: isBelow ? box.bottom : box.top };
}

function line(points) {
  return points.map(({ x, y }) => `L${x} ${y}`).join("");
}

function curve(from, to) {
  const middle = (from.y + to.y) / 2;
  return `C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${to.y}`;
}
