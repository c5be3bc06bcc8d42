// Turns of a conversation as elements, each with what can be done with it.

import { alternatives } from "./alternatives.js";
import { button, copy, make } from "./elements.js";
import { markdown, quotation } from "./markdown.js";
import { find, passages } from "./passages.js";
import { traced } from "./trace.js";

/** A question: it can be copied, and edited and asked again. */
export function question(message, ask) {
  const body = make("div", { className: "body", dir: "auto" }, message.content);
  const actions = make("div", { className: "actions" });
  const turn = make("div", { className: "turn user" }, make("span", { className: "unseen" }, "You: "), body, actions);
  actions.append(button("Edit", () => edit(turn, message.content, ask)));
  actions.append(button("Copy", event => copy(message.content, event.target)));
  return turn;
}

function edit(turn, content, ask) {
  const area = make("textarea", { value: content, ariaLabel: "Your question" }), kept = [...turn.childNodes];
  const cancel = () => { turn.replaceChildren(...kept); turn.querySelector("button").focus(); };
  const send = () => area.value.trim() && ask(area.value.trim());
  area.addEventListener("keydown", event => {
    if (event.key === "Escape") { event.stopPropagation(); cancel(); }
    if (enters(event)) { event.preventDefault(); send(); }
  });
  const followed = turn.nextElementSibling?.nextElementSibling;
  const note = make("p", { className: "quiet" }, followed ? "What follows it is removed." : "");
  const actions = make("div", { className: "actions" }, button("Ask again", send), button("Cancel", cancel));
  turn.replaceChildren(make("div", { className: "edit" }, area, note, actions));
  area.focus();
}

/** Whether a key sends what was typed. */
export function enters(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}

/** An answer and the ways to look at it. `history` is what it answers, `does` what the page can do. */
export function answer(message, history, does) {
  const body = make("div", { className: "body", dir: "auto" }), notes = make("div");
  const actions = make("div", { className: "actions" }), name = make("span", { className: "unseen" }, "Answer: ");
  const thoughts = make("p", { dir: "auto" });
  const mind = make("details", { className: "thought" }, make("summary", {}, "What it thought first"), thoughts);
  const turn = make("div", { className: "turn assistant" }, name, body, notes, actions);
  const shown = () => (does.quotes ? quotation : markdown)(message.content);
  const written = () => {
    if (message.thought) {
      thoughts.textContent = message.thought;
      if (!mind.isConnected) body.before(mind);
    }
    body.replaceChildren(shown());
  };
  // a view takes the place of the answer until it is pressed again
  const view = (name, nodes) => {
    const pressed = button(name, async () => {
      const on = pressed.ariaPressed !== "true";
      if (pressed.ariaBusy === "true") return;
      for (const other of actions.children) if (other.ariaPressed) other.ariaPressed = "false";
      notes.querySelector(".view")?.remove();
      written();
      if (!on) return;
      try {
        pressed.ariaBusy = "true";
        const [above, below] = await nodes();
        body.replaceChildren(above);
        if (below) notes.prepend(below);
        pressed.ariaPressed = "true";
      } catch (error) {
        notes.prepend(make("p", { className: "quiet view", role: "alert" }, error.message));
      } finally { pressed.ariaBusy = "false"; }
    }, { ariaPressed: "false" });
    return pressed;
  };
  const finished = () => {
    body.classList.remove("waiting");
    written();
    actions.replaceChildren(button("Copy", event => copy(message.content, event.target)));
    actions.append(button("Regenerate", does.regenerate, { className: "last-only" }));
    const byRule = message.memory?.asked;
    if (message.content && !does.quotes && !byRule) {
      actions.append(view("Alternatives", async () => [await alternatives(message, history)]));
    }
    if (does.quotes && !byRule && !message.passages) { // which the server does not keep
      const near = async () => make("div", { className: "view" }, ...passages(await find(history)));
      actions.append(view("Passages", async () => [shown(), await near()]));
    }
    if (message.content && does.traces) actions.append(view("Where from?", () => traced(message)));
    const found = passages(message.passages ?? [], message.annotations);
    notes.replaceChildren(...remarks(message), ...remembered(message), ...found);
  };
  return { turn, body, written, finished };
}

function* remarks(message) {
  const texts = [
    !message.content && "(an empty answer)",
    message.finish === "length" && "It was cut: it reached the most tokens (Settings), or the end of the context.",
    message.finish === "stopped" && "Stopped.",
    message.finish === "broken" && "It broke off.",
    message.finish === "incomplete" && "It was stopped, or cut.",
    message.dropped && `The ${message.dropped} oldest messages were not read: the model's context is full.`,
  ];
  for (const text of texts) if (text) yield make("p", { className: "quiet" }, text);
}

/** What of the memory the model was given. */
function* remembered({ memory }) {
  if (!memory || memory.asked) return;
  const { facts = [], quotes = [], facts_left_out: left } = memory;
  if (!facts.length && !quotes.length && !left) return;
  const day = seconds => new Date(1000 * seconds).toLocaleDateString();
  const lines = [...facts.map(one => one.text), ...quotes.map(one => `${day(one.created_at)}: “${one.text}”`)];
  if (left) lines.push(`For ${left} ${lines.length ? "more " : ""}of the facts there was no room.`);
  const list = make("ul", {}, ...lines.map(line => make("li", {}, line)));
  yield make("details", { className: "passage" }, make("summary", {}, "From memory"), list);
}
