// One button for larger letters. The pages need no script.
(() => {
  const button = document.createElement('button');
  button.className = 'size';
  button.textContent = 'A+';
  button.addEventListener('click', () => document.body.classList.toggle('large'));
  document.body.append(button);
})();
