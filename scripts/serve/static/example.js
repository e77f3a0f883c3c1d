// Search by a file: chosen, dropped anywhere on the page, or pasted. Only a few numbers of it stay on the server.

const part = document.getElementById("example");
const button = part?.querySelector("button");
const input = part?.querySelector("input");
const said = document.getElementById("example-said");
const MOST = 20 * 2 ** 20; // bytes
const UNREACHABLE = "The server does not answer; start mee serve again, then give the file again.";

/** Give a file to the server, and show clips like it. */
async function give(file) {
  if (button.disabled) return;
  part.closest("details")?.setAttribute("open", ""); // what is said would not be seen
  said.className = "";
  said.textContent = `Looking at “${file.name}”…`;
  button.disabled = true;
  const problem = await shown(file).catch(() => UNREACHABLE);
  button.disabled = false;
  input.value = ""; // the same file may be chosen again
  if (!problem) return;
  said.className = "problem";
  said.textContent = problem;
  button.focus();
}

/** Go to the clips like a file; else why not. */
async function shown(file) {
  if (file.size > MOST) return `“${file.name}” is larger than 20 MiB; cut out the moment that you mean.`;
  const answer = await fetch(`/api/examples?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
  const { example, error } = await answer.json();
  if (!answer.ok) return `${error[0].toUpperCase()}${error.slice(1)}.`;
  const words = document.getElementById("q").value.trim();
  location.assign(`/?${new URLSearchParams(words ? { q: words, example } : { example })}`);
  return "";
}

/** Take the first file of a drop or a paste; else the event goes its way. */
function take(event, files) {
  if (!files?.length) return;
  event.preventDefault();
  give(files[0]);
}

if (part) {
  part.hidden = false;
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => input.files.length && give(input.files[0]));
  document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  document.addEventListener("drop", (event) => take(event, event.dataTransfer?.files));
  document.addEventListener("paste", (event) => take(event, event.clipboardData?.files));
}
