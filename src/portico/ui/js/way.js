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
  const end = last && !last.isItem ? door(last.box, before.box) : last ?? before;
  const cross = passes ? "" : `M${end.x - 8} ${end.y - 8}${CROSS}`;
  const start = stops[0].isItem || !last ? stops[0] : door(stops[0].box, stops[1].box);
  return `M${start.x} ${start.y}${steps.join("")}${cross}`;
}

/** The path of the link between two boxes. */
export function linkOf(from, to) {
  const { x, y } = door(from, to);
  return `M${x} ${y}${between(from, to)}`;
}

function step(from, to) {
  if (from.isItem && from.box === to.box) return line([...out(from), ...out(to).reverse(), to]);
  const [left, entered] = [door(from.box, to.box), door(to.box, from.box)];
  const before = from.isItem ? [...out(from), { x: out(from)[1].x, y: left.y }, left] : [left];
  const after = to.isItem ? [{ x: out(to)[1].x, y: entered.y }, ...out(to).reverse(), to] : [];
  return line(before) + between(from.box, to.box) + line(after);
}

/** From the mark of an item to the edge of its card. */
function out({ x, y, box, isLine }) {
  const beside = isLine ? y : y - HALF_CELL;
  return [{ x, y: beside }, { x: box.left + GUTTER, y: beside }];
}

/** Where the way between two boxes leaves or enters the first: its upper or lower edge, where links end. */
function door(box, other) {
  return { x: box.link, y: isBelow(other, box) ? box.bottom : box.top };
}

function isBelow(box, other) {
  return box.top >= other.bottom;
}

/** From the door of one box to that of another, past what stands between. */
function between(from, to) {
  const past = (box, other) => (box.group === other.group ? [] : box[isBelow(other, box) ? "below" : "above"]);
  const [left, entered] = [past(from, to), past(to, from).toReversed()];
  const target = door(to, from);
  return line(left) + curve(left.at(-1) ?? door(from, to), entered[0] ?? target) + line(entered.length > 0 ? [...entered.slice(1), target] : []);
}

function line(points) {
  return points.map(({ x, y }) => `L${x} ${y}`).join("");
}

function curve(from, to) {
  const middle = (from.y + to.y) / 2;
  return `C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${to.y}`;
}
