(() => {
  "use strict";
  const slider = document.getElementById("frame"), said = document.getElementById("frame-name");
  const frames = [...document.querySelectorAll("img[data-frame]")];
  const show = () => {
    frames.forEach((each, i) => { each.hidden = i !== Number(slider.value); });
    said.textContent = frames[slider.value].dataset.frame;
    slider.setAttribute("aria-valuetext", said.textContent);
  };
  slider.addEventListener("input", show);
  slider.parentElement.hidden = false;
  show();
})();
