// The HTTP API: errors become sentences, 429 is waited for.

export class Problem extends Error {}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** JSON of an address. */
export async function get(path) {
  return answer(await reached(fetch(path, { headers: { Accept: "application/json" } })));
}

/** JSON of a form that was posted. `fields` holds strings, numbers and files; empty ones are left out. */
export async function post(path, recordings, fields, onWait = () => {}, signal = undefined) {
  for (;;) {
    const form = new FormData();
    for (const recording of recordings) form.append("audio", recording, "recording"); // names stay here
    for (const [name, value] of Object.entries(fields)) {
      if (value !== "" && value !== null && value !== undefined) form.append(name, value);
    }
    const options = { method: "POST", body: form, headers: { Accept: "application/json" }, signal };
    const response = await reached(fetch(path, options));
    if (response.status !== 429) return answer(response);
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    onWait(seconds);
    await pause(seconds);
  }
}

async function reached(request) {
  try {
    return await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The studio does not answer; is it still running?");
  }
}

async function answer(response) {
  let found = {};
  try {
    found = await response.json();
  } catch {
    found = { error: `The studio answered with status ${response.status}.` };
  }
  if (!response.ok) throw new Problem(found.error || `The studio answered with status ${response.status}.`);
  return found;
}
