"use strict";
// Keys, window and zoom of the review page. All state is on the server, so a reload shows it.

const root = document.getElementById("reading");
const showStatus = (message, isBad = false) => {
  const line = document.getElementById("status");
  line.textContent = message;
  line.classList.toggle("is-bad", isBad);
  line.setAttribute("role", isBad ? "alert" : "status");
};

const send = async (url, body) => {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const result = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(typeof result.detail === "string" ? result.detail : `the server returned ${response.status}`);
  return result;
};

// A message for the next page of this tab.
const leave = (message) => sessionStorage.setItem("message", message);
if (document.getElementById("status")) {
  showStatus(sessionStorage.getItem("message") ?? "");
  sessionStorage.removeItem("message");
}

let isBusy = false;
async function retract() {
  if (isBusy) return;
  isBusy = true;
  try {
    const { frame, is_replaced } = await send(`retractions${location.search}`, {}); // the same tab and filters as before
    if (frame) {
      leave(is_replaced ? "Undone. The file of that scan was overwritten, and its new version is another scan." : "Undone. Decide again.");
      location.assign(frame);
    } else showStatus("You have no decision to undo.");
  } catch (error) {
    showStatus(`Not undone: ${error.message}`, true);
  }
  isBusy = false;
}
document.getElementById("undo")?.addEventListener("click", retract);

const sessionForm = document.getElementById("session");
if (sessionForm) {
  sessionForm.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const session = await send("sessions", { minutes: Number(sessionForm.elements.minutes.value) });
      if (session.next) location.assign(session.next);
      else showStatus("No scan waits for your review.");
    } catch (error) {
      showStatus(`No session was started: ${error.message}`, true);
    }
  });
}

if (root) read(JSON.parse(root.dataset.state));
else if (document.getElementById("undo"))
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "u" || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!event.target.closest("input, select")) retract();
  });

function read(state) {
  const element = (id) => document.getElementById(id);
  const [image, map, plate, stage] = ["image", "map", "plate", "stage"].map(element);
  const target = state.slices.findIndex(([scan, frame]) => scan === state.scan && frame === state.frame);
  const shownAt = performance.now();
  let at = target;
  let pan = [0, 0];
  let shownZoom = 1;
  let wheeled = 0;

  const go = (url) => location.assign(url ?? state.end);

  // An image that failed to load is complete too, but has no width.
  const isShown = () => image.complete && image.naturalWidth > 0;

  async function decide(finding) {
    if (!state.is_reviewer || isBusy) return;
    if (at !== target) {
      look(target);
      showStatus("This is the slice to review: press again.", true);
      return;
    }
    if (finding !== "unusable_image" && !isShown()) {
      showStatus(
        image.complete
          ? "Not saved: the image of this frame was not loaded. Reload the page, or press 6 for an unusable image."
          : "Not saved: the image of this frame is still loading. Press again when you see it.",
        true,
      );
      return;
    }
    isBusy = true;
    showStatus("Saving…");
    try {
      const saved = await send("reviews", {
        request_key: state.request_key,
        scan_id: state.scan,
        frame_index: state.frame,
        model_version_id: state.model,
        finding,
        session_id: state.session,
        seconds: (performance.now() - shownAt) / 1000,
      });
      const button = document.querySelector(`[data-finding="${finding}"]`);
      leave(`Saved: ${button.lastChild.textContent.trim()}, scan ${state.scan}. Press U to undo.`);
      if (saved.is_blind) location.reload();
      else go(state.after);
    } catch (error) {
      isBusy = false;
      showStatus(`Not saved: ${error.message.endsWith(".") ? error.message : `${error.message}. Press again.`}`, true);
    }
  }

  function agree() {
    if (document.querySelector(".is-chosen")) go(state.after);
    else if (state.opinion) decide(state.opinion);
    else showStatus("Read blind: choose a finding first.", true);
  }

  // Waits for a decision that is being saved, because its message would be lost with the page.
  function turn(url, message) {
    if (isBusy) return;
    if (url) go(url);
    else showStatus(message);
  }

  function look(place) {
    if (place < 0 || place >= state.slices.length) return;
    at = place;
    const [scan, frame] = state.slices[at];
    const key = at === target ? `?request_key=${state.request_key}` : "";
    image.src = `image/${scan}/${frame}.png${key}`;
    if (map && at !== target) cover(false);
    showSlice();
  }

  function showSlice() {
    const line = element("slice");
    if (!line) return;
    const where = at === target ? "the one to review" : `your decision is for slice ${target + 1}`;
    line.textContent = `Slice ${at + 1} of ${state.slices.length}, ${where}`;
    element("earlier").disabled = at === 0;
    element("later").disabled = at === state.slices.length - 1;
  }

  function cover(isOn) {
    if (!map) return showStatus("Read blind: the activation map is hidden until you decide.", true);
    if (isOn && at !== target) look(target);
    if (isOn && !map.src) map.src = map.dataset.src;
    map.hidden = !isOn;
    for (const part of document.querySelectorAll(".of-map")) part.hidden = !isOn;
    element("toggle").setAttribute("aria-pressed", String(isOn));
    fit();
  }

  // The map covers the square model input, which has the frame in the middle and black bars on the sides.
  function fit() {
    if (!map || !image.naturalWidth) return;
    const [width, height] = [plate.clientWidth, plate.clientHeight];
    const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight);
    const [shownWidth, shownHeight] = [image.naturalWidth * scale, image.naturalHeight * scale];
    const side = Math.max(shownWidth, shownHeight);
    const [left, above] = [(side - shownWidth) / 2, (side - shownHeight) / 2];
    Object.assign(map.style, {
      inset: "auto",
      left: `${(width - side) / 2}px`,
      top: `${(height - side) / 2}px`,
      width: `${side}px`,
      height: `${side}px`,
      clipPath: `inset(${above}px ${left}px)`,
    });
  }

  // Draws window, level, zoom and the opacity of the map. The zoom keeps the point at `center` (pixels from the middle).
  function draw(center = [0, 0]) {
    const [width, level, zoom] = ["width", "level", "zoom"].map((id) => Number(element(id).value));
    for (const id of ["width", "level", "zoom", "opacity"])
      if (element(id)) element(`${id}-value`).textContent = element(id).value;
    const slope = 255 / width;
    for (const part of document.querySelectorAll("#window feFuncR, #window feFuncG, #window feFuncB")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", 0.5 - (slope * level) / 255);
    }
    image.style.filter = width === 255 && level === 128 ? "" : "url(#window)";
    if (map) map.style.opacity = element("opacity").value / 100;
    pan = zoom === 1 ? [0, 0] : pan.map((value, axis) => center[axis] - ((center[axis] - value) * zoom) / shownZoom);
    shownZoom = zoom;
    plate.style.transform = `translate(${pan[0]}px, ${pan[1]}px) scale(${zoom})`;
  }

  function set(values) {
    for (const [id, value] of Object.entries(values)) element(id).value = value;
    draw();
  }

  const reset = () => set({ width: 255, level: 128, zoom: 1 });

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
    const distance = event.deltaY * (event.deltaMode ? 34 : 1); // a line has about 34 pixels
    if (event.ctrlKey) {
      const box = stage.getBoundingClientRect();
      const center = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
      element("zoom").value = Number(element("zoom").value) * Math.exp(-distance / 400);
      return draw(center);
    }
    wheeled += distance;
    if (Math.abs(wheeled) < 50) return; // small steps of a touchpad add up to a slice
    look(at + Math.sign(wheeled));
    wheeled = 0;
  }, { passive: false });

  image.addEventListener("load", () => {
    element("trouble").hidden = true;
    fit();
  });
  const explain = async () => {
    const response = await fetch(image.src.split("?")[0]).catch(() => null); // without the key, because nothing is shown
    const result = response ? await response.json().catch(() => ({})) : {};
    element("trouble").textContent = result.detail ?? "The image cannot be shown.";
    element("trouble").hidden = false;
  };
  image.addEventListener("error", explain);
  if (image.src && image.complete && !image.naturalWidth) explain(); // the image failed before this script started
  new ResizeObserver(fit).observe(plate);
  for (const id of ["width", "level", "zoom", "opacity"]) element(id)?.addEventListener("input", () => draw());
  for (const button of document.querySelectorAll("[data-width]"))
    button.addEventListener("click", () => set({ width: button.dataset.width, level: button.dataset.level }));
  for (const button of document.querySelectorAll("[data-finding]"))
    button.addEventListener("click", () => decide(button.dataset.finding));
  const clicks = { agree, reset, toggle: () => cover(map.hidden), earlier: () => look(at - 1), later: () => look(at + 1) };
  for (const [id, act] of Object.entries(clicks)) element(id)?.addEventListener("click", act);

  const keys = {
    Enter: agree,
    o: () => cover(map ? map.hidden : true),
    u: () => state.is_reviewer && retract(),
    r: reset,
    ArrowUp: clicks.earlier,
    ArrowDown: clicks.later,
    "<": clicks.earlier,
    ">": clicks.later,
    ArrowLeft: () => turn(state.before, "This is the first frame."),
    ArrowRight: () => turn(state.after, "This is the last frame."),
  };
  for (const button of document.querySelectorAll("[data-finding]"))
    keys[button.querySelector("kbd").textContent] = () => decide(button.dataset.finding);
  // A focused control handles only the keys that it needs. The page handles all others.
  const ownKeys = [["input", /^(Arrow\w+|Home|End)$/], ["a", /^Enter$/], ["button", /^( |Enter)$/]];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return; // a held key must not decide on the next frame
    if (ownKeys.some(([control, keys]) => event.target.closest(control) && keys.test(event.key))) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  showSlice();
  draw();
  fit();
}
