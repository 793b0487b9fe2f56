"use strict";
// Keys, window and zoom of the review page. What is on record is the server's: a reload shows it.

const root = document.getElementById("reading");
const say = (words, isBad = false) => {
  const line = document.getElementById("status");
  line.textContent = words;
  line.classList.toggle("is-bad", isBad);
};

const send = async (address, body) => {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof found.detail === "string" ? found.detail : `the server answered ${answer.status}`);
  return found;
};

const sitting = document.getElementById("sitting");
if (sitting) {
  sitting.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const found = await send("sittings", { minutes: Number(sitting.elements.minutes.value) });
      if (found.next) location.assign(found.next);
      else say("Nothing waits for you.");
    } catch (error) {
      say(`No sitting was begun: ${error.message}`, true);
    }
  });
}

if (root) read(JSON.parse(root.dataset.state));

function read(state) {
  const element = (id) => document.getElementById(id);
  const [image, map, plate, stage] = ["image", "map", "plate", "stage"].map(element);
  const asked = state.slices.findIndex(([scan, frame]) => scan === state.scan && frame === state.frame);
  const shownAt = performance.now();
  const worklist = state.session === null && state.query ? `?${state.query}` : "?";
  let at = asked;
  let isBusy = false;
  let pan = [0, 0];

  const go = (address) => location.assign(address ?? worklist);

  // The browser has decoded the image: one that failed to load is complete too, but has no width.
  const isShown = () => image.complete && image.naturalWidth > 0;

  async function answer(finding) {
    if (!state.is_reviewer || isBusy) return;
    if (at !== asked) {
      look(asked);
      say("This is the slice that is asked: press again.", true);
      return;
    }
    if (finding !== "unusable_image" && !isShown()) {
      say(
        image.complete
          ? "Not saved: the image of this frame was not loaded. Reload the page, or press 6 for an unusable image."
          : "Not saved: the image of this frame is still loading. Press again when you see it.",
        true,
      );
      return;
    }
    isBusy = true;
    say("Saving…");
    try {
      const saved = await send("answers", {
        request_key: state.request_key,
        scan_id: state.scan,
        frame_index: state.frame,
        model_version_id: state.model,
        finding,
        session_id: state.session,
        seconds: (performance.now() - shownAt) / 1000,
      });
      if (saved.is_blind) location.reload();
      else go(state.after);
    } catch (error) {
      isBusy = false;
      say(`Not saved: ${error.message}. Press again.`, true);
    }
  }

  async function takeBack() {
    if (!state.is_reviewer || isBusy) return;
    isBusy = true;
    try {
      const found = await send("retractions", {});
      if (found.frame) go(found.frame);
      else say("You have no answer to take back.");
    } catch (error) {
      say(`Not taken back: ${error.message}`, true);
    }
    isBusy = false;
  }

  function agree() {
    if (document.querySelector(".is-chosen")) go(state.after);
    else if (state.opinion) answer(state.opinion);
    else say("Read blind: name what you see.", true);
  }

  function look(place) {
    if (place < 0 || place >= state.slices.length) return;
    at = place;
    const [scan, frame] = state.slices[at];
    const key = at === asked ? `?request_key=${state.request_key}` : "";
    image.src = `image/${scan}/${frame}.png${key}`;
    if (map && at !== asked) cover(false);
    tellSlice();
  }

  function tellSlice() {
    const line = element("slice");
    if (!line) return;
    const where = at === asked ? "the one that is asked" : `your answer is on slice ${asked + 1}`;
    line.textContent = `Slice ${at + 1} of ${state.slices.length}, ${where}.`;
  }

  function cover(isOn) {
    if (!map) return say("Read blind: there is nothing to show yet.", true);
    if (isOn && at !== asked) look(asked);
    if (isOn && !map.src) map.src = map.dataset.src;
    map.hidden = !isOn;
    element("toggle").setAttribute("aria-pressed", String(isOn));
    fit();
  }

  // The map lies over the square that the model saw: the frame in the middle of it, black beside.
  function fit() {
    if (!map || !image.naturalWidth) return;
    const [width, height] = [plate.clientWidth, plate.clientHeight];
    const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight);
    const [shownWidth, shownHeight] = [image.naturalWidth * scale, image.naturalHeight * scale];
    const side = Math.max(shownWidth, shownHeight);
    const [beside, above] = [(side - shownWidth) / 2, (side - shownHeight) / 2];
    Object.assign(map.style, {
      inset: "auto",
      left: `${(width - side) / 2}px`,
      top: `${(height - side) / 2}px`,
      width: `${side}px`,
      height: `${side}px`,
      clipPath: `inset(${above}px ${beside}px)`,
    });
  }

  function draw() {
    const [width, level, zoom] = ["width", "level", "zoom"].map((id) => Number(element(id).value));
    const slope = 255 / width;
    for (const part of document.querySelectorAll("#window feFuncR, #window feFuncG, #window feFuncB")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", 0.5 - (slope * level) / 255);
    }
    image.style.filter = width === 255 && level === 128 ? "" : "url(#window)";
    if (zoom === 1) pan = [0, 0];
    plate.style.transform = `translate(${pan[0]}px, ${pan[1]}px) scale(${zoom})`;
  }

  function reset() {
    for (const [id, value] of [["width", 255], ["level", 128], ["zoom", 1]]) element(id).value = value;
    draw();
  }

  const add = (id, amount) => {
    element(id).value = Number(element(id).value) + amount;
  };

  let last = null;
  stage.addEventListener("pointerdown", (event) => {
    last = [event.clientX, event.clientY];
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!last) return;
    const [x, y] = [event.clientX - last[0], event.clientY - last[1]];
    last = [event.clientX, event.clientY];
    if (event.shiftKey) pan = [pan[0] + x, pan[1] + y];
    else {
      add("width", x / 2);
      add("level", y / 2);
    }
    draw();
  });
  stage.addEventListener("pointerup", () => (last = null));
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    add("zoom", event.deltaY < 0 ? 0.3 : -0.3);
    draw();
  }, { passive: false });

  image.addEventListener("load", () => {
    element("trouble").hidden = true;
    fit();
  });
  image.addEventListener("error", async () => {
    const answered = await fetch(image.src.split("?")[0]).catch(() => null); // without the key: this shows nothing
    const found = answered ? await answered.json().catch(() => ({})) : {};
    element("trouble").textContent = found.detail ?? "The image cannot be shown.";
    element("trouble").hidden = false;
  });
  window.addEventListener("resize", fit);
  for (const id of ["width", "level", "zoom"]) element(id).addEventListener("input", draw);
  for (const button of document.querySelectorAll("[data-finding]"))
    button.addEventListener("click", () => answer(button.dataset.finding));
  for (const [id, act] of [["agree", agree], ["undo", takeBack], ["reset", reset], ["toggle", () => cover(map.hidden)]])
    element(id)?.addEventListener("click", act);

  const keys = {
    Enter: agree,
    o: () => cover(map ? map.hidden : true),
    u: takeBack,
    r: reset,
    ArrowUp: () => look(at - 1),
    ArrowDown: () => look(at + 1),
    ArrowLeft: () => (state.before ? go(state.before) : say("This is the first.")),
    ArrowRight: () => (state.after ? go(state.after) : say("This is the last.")),
  };
  for (const button of document.querySelectorAll("[data-finding]"))
    keys[button.querySelector("kbd").textContent] = () => answer(button.dataset.finding);
  // A control that has the focus keeps only the keys that it needs: all others work as everywhere on the page.
  const ownKeys = [["input", /^(Arrow\w+|Home|End)$/], ["a", /^Enter$/], ["button", /^( |Enter)$/]];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return; // a key that is held does not answer the next frame too
    if (ownKeys.some(([control, keys]) => event.target.closest(control) && keys.test(event.key))) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  tellSlice();
  fit();
}
