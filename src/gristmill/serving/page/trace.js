// Where an answer's words stand in the training text.

import { request } from "./api.js";
import { button, make } from "./elements.js";
import { place } from "./passages.js";

/** An answer's text with what the training text holds of it marked, and below it the documents that hold it. */
export async function traced(message) {
  const { spans, covered, tokens } = await (await request("/v1/trace", { json: { text: message.content } })).json();
  const letters = [...message.content]; // places are counted in characters
  const shown = make("div", { className: "traced" });
  const found = spans.map((span, number) => documents(span, number + 1));
  let end = 0;
  spans.forEach((span, number) => {
    const start = Math.max(end, span.start);
    const mark = make("mark", { className: `found${number % 2}` }, letters.slice(start, span.end).join(""));
    const show = () => { found[number].open = true; found[number].scrollIntoView({ block: "nearest" }); };
    mark.addEventListener("click", show);
    const ref = button(number + 1, show, { ariaLabel: `Source ${number + 1}`, className: "ref" });
    shown.append(letters.slice(end, start).join(""), mark, ref);
    end = span.end;
  });
  shown.append(letters.slice(end).join(""));
  const verdict = make("p", { className: "quiet", role: "status" }, told(covered, letters, spans, tokens));
  return [shown, make("div", { className: "view" }, verdict, ...found)];
}

function told(covered, letters, spans, tokens) {
  const all = `the ${tokens.toLocaleString("en")} tokens of training text`;
  if (!spans.length) return `No three words of it stand in a row in ${all}.`;
  const length = [...letters.join("").trim()].length;
  if (covered >= length) return `All of it stands in ${all}${spans.length > 1 ? ", though not in one place" : ""}.`;
  return `${Math.round(100 * covered / letters.length)} % of it stands in ${all}, as marked. `
    + "No three words in a row of the rest do, nor two marked parts as they are joined here.";
}

function documents(span, number) {
  const times = span.count > 1 ? `${span.count.toLocaleString("en")} times` : "once";
  const rows = span.sources.map(source => {
    const { title, fetched_at, licence, source: file } = source.facts;
    const about = [title, fetched_at, licence].filter(Boolean).join(" · ");
    const [before, text, after] = [source.before, source.text, source.after].map(part => part.replace(/\s+/g, " "));
    const words = make("p", {}, `… ${before.trimStart()}`, make("mark", {}, text), `${after} …`);
    const from = place(source.url || file || source.document);
    return make("li", {}, from, make("div", { className: "quiet" }, about), words);
  });
  const head = make("summary", {}, `[${number}] “${span.text.trim()}” stands there ${times}`);
  return make("details", { className: "passage", open: number === 1 }, head, make("ul", {}, ...rows));
}
