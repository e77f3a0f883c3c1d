// Search by a file: chosen, dropped anywhere on the page, or pasted. Only a few numbers of it stay on the server.

const part = document.getElementById("example");
const button = part?.querySelector("button");
const input = part?.querySelector("input");
const said = document.getElementById("example-said");
const MOST = 20 * 2 ** 20; // bytes

/** Give a file to the server, and show clips like it. */
async function give(file) {
  if (button.disabled) return;
  tell("");
  if (file.size > MOST) return tell(`“${file.name}” is larger than 20 MiB; cut out the moment that you mean.`);
  button.disabled = true;
  tell(`Looking at “${file.name}”…`, false);
  try {
    const answer = await fetch(`/api/examples?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
    const { example, error } = await answer.json();
    if (!answer.ok) return tell(error[0].toUpperCase() + error.slice(1));
    const query = new URLSearchParams({ example });
    const words = document.getElementById("q").value.trim();
    if (words) query.set("q", words);
    location.assign(`/?${query}`);
  } catch {
    tell("The server does not answer; start mee serve again, then give the file again.");
  } finally {
    button.disabled = false;
    input.value = ""; // the same file may be chosen again
  }
}

function tell(sentence, wrong = true) {
  said.textContent = sentence;
  said.classList.toggle("problem", wrong && Boolean(sentence));
  if (wrong && sentence) button.focus();
}

if (part) {
  part.hidden = false;
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => input.files.length && give(input.files[0]));
  document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  document.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault(); // else the browser leaves the page for it
    give(file);
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (!file) return; // text goes where the cursor is
    event.preventDefault();
    give(file);
  });
}
