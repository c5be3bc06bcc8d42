// Markdown (CommonMark's commonest, and GitHub's tables) as a fixed set of elements, built node by node. Whatever a
// text holds, none of it becomes markup, an image or an address other than http, https and mailto. Time grows with the
// text's length alone: what is looked for in vain once is not looked for again, and nesting has a limit.

import { button, copy, make } from "./elements.js";

const DEEPEST = 6; // blocks in blocks, or emphasis in emphasis
const SPECIAL = /[\\`*_~[!<]|https?:\/\//g, ADDRESS = /https?:\/\//g;
const LINK = /!?\[([^[\]]*)\]\(<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:[ \t]+"[^"\n]*")?\)/y;
const BRACKETED = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const BARE = /https?:\/\/[^\s<>()[\]"'`*]+/y;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+(.*))?$/s;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/s;
const ENDS_PARAGRAPH = /^ {0,3}(?:>|(?:[-*+]|1[.)])[ \t]+\S)/;
const TAGS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };

/** A text as nodes. */
export function markdown(text, words = inline) {
  const made = document.createDocumentFragment();
  made.append(...blocks(text.split("\n"), 0, words));
  return made;
}

/** A quote of pages as nodes: of a page's Markdown only blocks are Markdown, for in its lines `*` and `_` are what the
 * page says (`rm *.txt`). Addresses of the web are links. */
export function quotation(text) {
  return markdown(text, line => inline(line, 0, ADDRESS));
}

function blocks(lines, depth, words) {
  const made = [];
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const [block, next] = !line.trim() ? [null, at + 1] : fence(lines, at) ?? heading(lines, at, words)
      ?? rule(lines, at) ?? (depth < DEEPEST ? quote(lines, at, depth, words) ?? list(lines, at, depth, words) : null)
      ?? table(lines, at, words) ?? paragraph(lines, at, depth, words);
    if (block) made.push(block);
    at = next;
  }
  return made;
}

/** The marks that open a block of code, null where none do. */
function fenced(line) {
  const found = /^ {0,3}(`{3,}|~{3,})/.exec(line);
  return found && !(found[1][0] === "`" && line.includes("`", found[0].length)) ? found[1] : null;
}

function fence(lines, at) {
  const marks = fenced(lines[at]);
  if (!marks) return null;
  let end = at + 1;
  const closes = line => line.trim().startsWith(marks) && !line.trim().replaceAll(marks[0], "");
  while (end < lines.length && !closes(lines[end])) end++;
  const language = lines[at].trim().slice(marks.length).trim().split(/\s/, 1)[0].slice(0, 20);
  const code = lines.slice(at + 1, end).join("\n"), head = make("div", { className: "code-head" }, language);
  head.append(button("Copy", event => copy(code, event.target)));
  return [make("div", { className: "code" }, head, make("pre", { tabIndex: 0 }, make("code", {}, code))), end + 1];
}

function heading(lines, at, words) {
  const found = HEADING.exec(lines[at]);
  return found && [make(`h${Math.min(6, found[1].length + 1)}`, {}, words(found[2])), at + 1];
}

const ruled = line => /^(-{3,}|\*{3,}|_{3,})$/.test(line.replace(/\s/g, ""));

function rule(lines, at) {
  return ruled(lines[at]) ? [make("hr"), at + 1] : null;
}

function quote(lines, at, depth, words) {
  let end = at;
  while (end < lines.length && /^ {0,3}>/.test(lines[end])) end++;
  const inner = lines.slice(at, end).map(line => line.replace(/^ {0,3}> ?/, ""));
  return end > at ? [make("blockquote", {}, ...blocks(inner, depth + 1, words)), end] : null;
}

function list(lines, at, depth, words) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const start = parseInt(first[2]), indent = first[1].length, kind = first[2].at(-1), items = [];
  const made = make(start >= 0 ? "ol" : "ul", start >= 0 && start !== 1 ? { start } : {});
  let end = at;
  for (; end < lines.length; end++) {
    const item = ITEM.exec(lines[end]), deep = lines[end].search(/\S/);
    if (item && item[1].length < indent + 2 && item[1].length >= indent && item[2].at(-1) === kind) {
      items.push([item[3] ?? ""]);
    } else if (deep < 0 ? /^\s+\S|^ *(?:[-*+]|\d{1,9}[.)])\s/.test(lines[end + 1] ?? "") : deep > indent) {
      items.at(-1).push(lines[end].slice(Math.min(Math.max(deep, 0), indent + first[2].length + 1)));
    } else break;
  }
  for (const item of items) {
    const inside = blocks(item, depth + 1, words);
    if (inside[0]?.tagName === "P") inside.splice(0, 1, ...inside[0].childNodes);
    made.append(make("li", {}, ...inside));
  }
  return [made, end];
}

/** Whether a line and the one after it begin a table. */
function tabular(lines, at) {
  const below = lines[at + 1] ?? "";
  return lines[at].includes("|") && below.includes("-") && below.includes("|") && !/[^-:| \t]/.test(below);
}

function table(lines, at, words) {
  if (!tabular(lines, at)) return null;
  const cells = line => line.trim().replace(/^\||\|$/g, "").split("|").map(cell => cell.trim());
  const row = (line, tag) => make("tr", {}, ...cells(line).map(cell => make(tag, {}, words(cell))));
  const body = make("tbody");
  let end = at + 2;
  for (; end < lines.length && lines[end].includes("|"); end++) body.append(row(lines[end], "td"));
  const head = make("thead", {}, row(lines[at], "th"));
  return [make("div", { className: "wide", tabIndex: 0 }, make("table", {}, head, body)), end];
}

function paragraph(lines, at, depth, words) {
  let end = at + 1;
  const begins = line => !line.trim() || fenced(line) || HEADING.test(line) || ruled(line)
    || depth < DEEPEST && ENDS_PARAGRAPH.test(line);
  while (end < lines.length && !begins(lines[end]) && !tabular(lines, end)) end++;
  return [make("p", {}, words(lines.slice(at, end).join("\n"))), end];
}

function inline(text, depth = 0, signs = SPECIAL) {
  const made = document.createDocumentFragment(), missing = new Set();
  let plain = "", at = 0;
  while (at < text.length) {
    signs.lastIndex = at;
    const found = signs.exec(text), place = found ? found.index : text.length;
    plain += text.slice(at, place);
    if (!found) break;
    const [node, end] = special(text, place, depth, missing);
    if (node instanceof Node) {
      made.append(plain, node);
      plain = "";
    } else plain += node;
    at = end;
  }
  made.append(plain);
  return made;
}

/** What begins at a place: a node or plain text, and where it ends. */
function special(text, at, depth, missing) {
  const mark = text[at], as = pattern => { pattern.lastIndex = at; return pattern.exec(text); };
  if (mark === "\\") return /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? [text[at + 1], at + 2] : ["\\", at + 1];
  if (mark === "`") return code(text, at, missing);
  if (mark === "[" || mark === "!") {
    const found = as(LINK);
    return found ? [link(found[2], found[1]) ?? found[0], at + found[0].length] : [mark, at + 1];
  }
  if (mark === "<") {
    const found = as(BRACKETED);
    return found ? [link(found[1], found[1]) ?? found[0], at + found[0].length] : [mark, at + 1];
  }
  if (mark === "h") {
    const found = as(BARE)?.[0].replace(/[.,;:!?]$/, "");
    return found ? [link(found, found) ?? found, at + found.length] : [mark, at + 1];
  }
  return emphasis(text, at, depth, missing);
}

function code(text, at, missing) {
  const marks = /`+/y, any = /`+/g;
  marks.lastIndex = at;
  const open = marks.exec(text)[0];
  any.lastIndex = at + open.length;
  for (let found; !missing.has(open) && (found = any.exec(text));) {
    if (found[0] === open) return [make("code", {}, text.slice(at + open.length, found.index)), any.lastIndex];
  }
  missing.add(open);
  return [open, at + open.length];
}

function emphasis(text, at, depth, missing) {
  const mark = ["**", "__", "~~", "*", "_"].find(mark => text.startsWith(mark, at));
  if (!mark) return [text[at], at + 1];
  const start = at + mark.length, word = /[\p{L}\p{N}]/u;
  const opens = /\S/.test(text[start] ?? "") && !(mark[0] === "_" && word.test(text[at - 1] ?? ""));
  for (let end = start; opens && depth < DEEPEST && !missing.has(mark);) {
    end = text.indexOf(mark, end + 1);
    if (end < 0) { missing.add(mark); break; }
    while (text[end + mark.length] === mark[0] && mark.length === 2) end++; // of ***, the last two close
    if (/\S/.test(text[end - 1]) && !(mark[0] === "_" && word.test(text[end + mark.length] ?? ""))
      && !(mark.length === 1 && (text[end + 1] === mark || text[end - 1] === mark))) {
      return [make(TAGS[mark], {}, inline(text.slice(start, end), depth + 1)), end + mark.length];
    }
  }
  return [mark, start];
}

/** A link to the web or to a mailbox; null for any other address. A text that looks like an address is not believed. */
function link(address, text) {
  const known = URL.canParse(address) && ["http:", "https:", "mailto:"].includes(new URL(address).protocol);
  if (!known) return null;
  const shown = !text.trim() || /\w\.[a-z]{2,}/i.test(text) ? address : text;
  return make("a", { href: address, title: address, target: "_blank", rel: "noopener noreferrer nofollow" }, shown);
}
