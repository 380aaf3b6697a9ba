"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => (byId(id) ? JSON.parse(byId(id).textContent) : null);

  /* One neighbour list at a time, chosen by name; without this script all of them stand below each other, closed. */
  function chooseNeighbours() {
    const choice = byId("neighbour-choice");
    if (!choice) return;
    const lists = [...document.querySelectorAll("#neighbour-lists > details")];
    const show = () => lists.forEach((list, place) => {
      list.hidden = place !== choice.selectedIndex;
      list.open = place === choice.selectedIndex;
    });
    choice.addEventListener("change", show);
    byId("neighbour-live").hidden = false;
    show();
    window.addEventListener("beforeprint", () => lists.forEach((list) => { list.hidden = false; }));
    window.addEventListener("afterprint", show);
  }

  function picture(element, said) {
    element.className = said.thumb === null ? "thumb none" : `thumb t${said.thumb}`;
    element.textContent = said.thumb === null ? "no picture" : "";
  }

  /* What is chosen stands below the map. */
  function choose(content, place) {
    byId("map-said").hidden = place === undefined;
    byId("map-choice").value = place === undefined ? "" : String(place);
    if (place === undefined) return;
    const said = content.told[place];
    picture(byId("map-thumb"), said);
    byId("map-thumb").setAttribute("aria-label", said.image);
    byId("map-name").textContent = said.image;
    byId("map-words").textContent = said.words;
  }

  /* What is pointed at stands beside the pointer. */
  function hint(content, place, at) {
    const tip = byId("map-tip");
    tip.hidden = place === undefined;
    if (place === undefined) return;
    const said = content.told[place];
    picture(tip.firstElementChild, said);
    tip.lastElementChild.textContent = `${said.image}: ${said.words}`;
    const right = at.x + 18 + tip.offsetWidth > byId("map-frame").clientWidth;
    tip.style.left = `${right ? Math.max(0, at.x - 18 - tip.offsetWidth) : at.x + 18}px`;
    tip.style.top = `${at.y + 12}px`;
  }

  async function drawMap() {
    const content = read("map-data");
    if (!content || typeof Bokeh === "undefined") return;
    await Bokeh.embed.embed_item(content.item);
    const drawn = Bokeh.documents[Bokeh.documents.length - 1];
    const source = drawn.get_model_by_name("images");
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const ink = () => {
      const text = getComputedStyle(document.body).color;
      for (const axis of ["x-axis", "y-axis"].map((name) => drawn.get_model_by_name(name))) {
        Object.assign(axis, {axis_label_text_color: text, major_label_text_color: text});
      }
    };
    ink();
    dark.addEventListener("change", ink);
    const legend = (how) => {
      document.querySelectorAll("[data-legend]").forEach((list) => { list.hidden = list.dataset.legend !== how; });
    };
    let chosen = "class";
    const colour = (how) => {
      const look = content.looks[how].map((number) => content.marks[number]);
      source.data = {...source.data, colour: look.map((m) => m[0]), shape: look.map((m) => m[1]), size: look.map((m) => m[2])};
      chosen = how;
      legend(how);
    };
    document.querySelectorAll("input[name=map-look]").forEach((input) => {
      input.addEventListener("change", () => colour(input.value));
    });
    const frame = byId("map-frame");
    const at = {x: 0, y: 0};
    frame.addEventListener("pointermove", (event) => {
      const corner = frame.getBoundingClientRect();
      at.x = event.clientX - corner.left;
      at.y = event.clientY - corner.top;
    }, {capture: true});
    frame.addEventListener("pointerleave", () => hint(content, undefined, at));
    source.inspect.connect(() => hint(content, [...source.inspected.indices][0], at));
    source.selected.properties.indices.change.connect(() => choose(content, [...source.selected.indices][0]));
    byId("map-choice").addEventListener("change", (event) => {
      source.selected.indices = event.target.value === "" ? [] : [Number(event.target.value)];
    });
    document.querySelectorAll("#map div.live:not(#map-tip)").forEach((part) => { part.hidden = false; });
    byId("map").classList.add("ready");
    window.addEventListener("beforeprint", () => legend("class"));  // which the chart on paper is coloured by
    window.addEventListener("afterprint", () => legend(chosen));
  }

  chooseNeighbours();
  drawMap();
})();
