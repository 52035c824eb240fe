// Tries what the page has, and tells the server. Each try gives a short word; what does not come in time
// or fails says so.
'use strict';

const found = (id) => document.getElementById(id);
const heard = (target, event) => new Promise((resolve, reject) => {
  target.addEventListener(event, resolve, { once: true });
  target.addEventListener('error', () => reject(new Error(`no ${event}`)), { once: true });
});
const inTime = (promise) => Promise.race([
  promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error('too late')), 100000)),
]);

const tries = {
  async picture() {
    await found('picture').decode();
    return found('picture').naturalWidth;
  },
  async font() {
    return (await document.fonts.load('16px Magazine')).length;
  },
  async script() {
    return globalThis.long.length;
  },
  async film() {
    const film = found('film');
    if (film.readyState < 1) await heard(film, 'loadedmetadata');
    // Near the end first, then the middle: nobody has seen what is before. Chromium may read on to there
    // instead of asking for it, which takes long.
    for (const part of [0.9, 0.5]) {
      film.currentTime = film.duration * part;
      await heard(film, 'seeked');
    }
    await film.play();
    const since = film.currentTime;
    while (film.currentTime < since + 1) await heard(film, 'timeupdate');
    film.pause();
    return film.videoWidth;
  },
  async login() {
    const account = document.querySelector('iframe');
    const shown = heard(account, 'load');
    found('login').submit();
    await shown;
    const text = account.contentDocument.body.textContent;
    // Who is logged in can chat.
    const address = new URL('/app/chat', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    const [one, other] = [new WebSocket(address), new WebSocket(address)];
    await Promise.all([heard(one, 'open'), heard(other, 'open')]);
    const message = heard(other, 'message');
    one.send('is anybody there?');
    return `${text}: ${(await message).data}`;
  },
};

const report = { browser: navigator.userAgent };
const all = Object.entries(tries).map(async ([name, attempt]) => {
  report[name] = await inTime(attempt()).catch((error) => String(error));
  const line = document.createElement('li');
  line.textContent = `${name}: ${report[name]}`;
  found('results').append(line);
});
Promise.all(all).then(() => fetch('/app/report', { method: 'POST', body: JSON.stringify(report) }));
