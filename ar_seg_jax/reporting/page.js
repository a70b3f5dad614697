'use strict';

// The names of clusters as names.json has them: null for a cluster that is hidden.
function named(table) {
  const found = {};
  for (const input of table.querySelectorAll('input[type=text]')) {
    const hidden = input.closest('tr').querySelector('input[type=checkbox]').checked;
    found[input.dataset.cluster] = hidden ? null : input.value.trim() || `cluster ${input.dataset.cluster}`;
  }
  return {step: Number(table.dataset.step), names: found};
}

function inWords({names}) {
  const members = new Map();
  for (const [cluster, name] of Object.entries(names)) {
    const key = name ?? '(hidden)';
    members.set(key, [...(members.get(key) ?? []), cluster]);
  }
  return [...members].map(([name, clusters]) => `${name}: ${clusters.join(', ')}`).join('; ');
}

function download(content) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], {type: 'application/json'}));
  link.download = 'names.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

for (const table of document.querySelectorAll('.naming')) {
  table.addEventListener('input', () => { table.querySelector('output').textContent = inWords(named(table)); });
  table.querySelector('button').addEventListener('click', () => download(named(table)));
}

// A slider shows the label map over its image, and the one for all of a section moves all of them.
function show(slider) {
  slider.setAttribute('aria-valuetext', `${slider.value} %`);
  const layered = slider.closest('.layered');
  if (layered) layered.querySelector('.labels').style.opacity = slider.value / 100;
}

for (const slider of document.querySelectorAll('input[type=range]')) {
  slider.addEventListener('input', () => {
    show(slider);
    if (slider.closest('.all')) {
      for (const other of slider.closest('section').querySelectorAll('.layered input[type=range]')) {
        other.value = slider.value;
        show(other);
      }
    }
  });
}
