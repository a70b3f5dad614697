'use strict';

// A slider shows the label map over its image, and the one for all of a section moves all of them.
function show(slider) {
  slider.setAttribute('aria-valuetext', `${slider.value} %`);
  const figure = slider.closest('figure');
  if (figure) figure.querySelector('.labels').style.opacity = slider.value / 100;
}

for (const slider of document.querySelectorAll('input[type=range]')) {
  slider.addEventListener('input', () => {
    show(slider);
    if (slider.closest('.all')) {
      for (const other of slider.closest('section').querySelectorAll('figure input[type=range]')) {
        other.value = slider.value;
        show(other);
      }
    }
  });
}
