// All behaviour of the page; each module finds its elements itself, and does nothing where they are not there.
import "./search.js";
import "./form.js";
import "./example.js";
import "./player.js";
import "./strip.js";
import "./marks.js";
import "./saved.js";
import "./keys.js";
import "./live.js";
