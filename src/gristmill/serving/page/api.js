// The server: requests with the API key, and what the events of a stream tell.

/** The response to a request. Throws an Error with the server's message where it refuses. */
export async function request(path, { json, ...options } = {}) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem("key");
  // a character that no header can hold would fail before anything is sent
  if (key) headers.Authorization = "Bearer " + key.replace(/[^!-~]/g, "");
  const sent = json === undefined ? {} : { method: "POST", body: JSON.stringify(json) };
  const response = await fetch("." + path, { ...sent, ...options, headers }).catch(error => {
    throw error.name === "TypeError" ? new Error("the server cannot be reached: it may have ended") : error;
  });
  if (response.status === 401) {
    const given = prompt("API key");
    if (given) {
      sessionStorage.setItem("key", given);
      return request(path, { json, ...options });
    }
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw Object.assign(new Error(body?.error?.message ?? "HTTP " + response.status), { status: response.status });
  }
  return response;
}

/** What each event of a stream brings: `content`, and what is `thought` before it; the last one `finish`,
 * `annotations` (what is quoted), how many messages were `dropped`, and what of the `memory` was used. */
export async function* deltas(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "", finished = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the answer broke off");
    const events = (buffer + value).split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]" && finished) return;
      const { error, choices, dropped_messages: dropped, memory } = data === "[DONE]" ? {} : JSON.parse(data);
      if (error || !choices) throw new Error(error?.message ?? "the answer broke off");
      const finish = choices[0]?.finish_reason;
      finished ||= Boolean(finish);
      const { content = "", reasoning_content: thought = "", annotations } = choices[0]?.delta ?? {};
      yield { content, thought, finish, annotations, dropped, memory };
    }
  }
}
