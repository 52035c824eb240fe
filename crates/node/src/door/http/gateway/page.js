// Runs in each page under the gateway, before the page's own scripts. What those load, open or send by the site's
// own addresses is led to where the sites stand here; what the policy kept from going out is shown.
(() => {
  'use strict';
  const tag = document.currentScript;
  const told = tag.dataset;
  // The browser hides the nonce from what is written of the element.
  tag.setAttribute('nonce', tag.nonce);
  const again = tag.outerHTML;
  tag.remove();
  const port = location.port || '80';
  const end = '.localhost:' + port;

  // As busel-proto's `gateway` does it.
  const label = (url) => {
    const name = url.hostname.replace(/-/g, '--').replace(/\./g, '-');
    const secure = url.protocol === 'https:' || url.protocol === 'wss:';
    const usual = name.startsWith('xn--') ? 'https---' : '';
    const before = secure ? (url.port ? url.port + '---' : usual)
      : (url.port ? `http-${url.port}---` : 'http---');
    return before + name;
  };
  const here = (given) => {
    let url;
    try {
      url = new URL(given, document.baseURI);
    } catch {
      return given;
    }
    const socket = /^wss?:$/.test(url.protocol);
    url.hostname = url.hostname.replace(/\.+$/, '');
    const local = !url.hostname.includes('.') || url.hostname.endsWith('.localhost');
    if (!(socket || /^https?:$/.test(url.protocol)) || local) {
      // A page that speaks of `wss:` to its own name means the site.
      if (!socket || url.host !== location.host) return given;
      return `ws://${url.host}${url.pathname}${url.search}`;
    }
    const own = label(url);
    if (own.length > 63) return `http://localhost:${port}/${url.href}`;
    return `${socket ? 'ws' : 'http'}://${own}${end}${url.pathname}${url.search}${url.hash}`;
  };

  // As in `busel-node`'s `parts`.
  const hereAll = (set) => {
    const all = [];
    let rest = String(set);
    for (;;) {
      rest = rest.replace(/^[\s,]+/, '');
      if (!rest) return all.join(', ');
      const link = rest.match(/^\S+/)[0];
      const bare = link.replace(/,+$/, '');
      rest = rest.slice(link.length);
      const how = bare.length < link.length ? '' : rest.match(/^[^,]*/)[0];
      rest = rest.slice(how.length);
      all.push(`${here(bare)} ${how.trim()}`.trim());
    }
  };
  const sets = ['imagesrcset', 'srcset'];
  const links = ['action', 'data', 'formaction', 'href', 'poster', 'src'];
  const ahead = /\b(preconnect|dns-prefetch|prefetch|prerender)\b/i;
  const getAttribute = Element.prototype.getAttribute;
  const setAttribute = Element.prototype.setAttribute;
  const lead = (element) => {
    if (element.localName === 'link' && ahead.test(element.rel)) return element.remove();
    const page = getAttribute.call(element, 'data-busel-srcdoc');
    if (page !== null) {
      element.removeAttribute('data-busel-srcdoc');
      setAttribute.call(element, 'srcdoc', within(page));
    }
    for (const name of [...links, ...sets]) {
      const given = getAttribute.call(element, name);
      const own = given && (sets.includes(name) ? hereAll(given) : here(given));
      if (own !== given) setAttribute.call(element, name, own);
    }
  };
  const all = [...links, ...sets, 'data-busel-srcdoc'].map((name) => `[${name}]`).join();
  // HTML that a script writes: a browser connects ahead as soon as it reads it.
  const written = (html) => {
    const text = String(html);
    if (!ahead.test(text)) return html;
    return text.replace(/<link\b[^>]*>/gi, (link) => (ahead.test(link) ? '' : link));
  };
  // HTML of a page within this one, which begins as this one does.
  const parse = DOMParser.prototype.parseFromString;
  const within = (html) => {
    const page = parse.call(new DOMParser(), html, 'text/html');
    page.querySelectorAll(`link, ${all}`).forEach(lead);
    page.querySelectorAll('iframe[srcdoc]').forEach((frame) => {
      setAttribute.call(frame, 'srcdoc', within(getAttribute.call(frame, 'srcdoc')));
    });
    return `<!doctype html>${again}${page.documentElement.outerHTML}`;
  };

  const kinds = {
    HTMLAnchorElement: 'href', HTMLEmbedElement: 'src', HTMLFormElement: 'action',
    HTMLIFrameElement: 'src', HTMLImageElement: 'src', HTMLLinkElement: 'href',
    HTMLMediaElement: 'src', HTMLObjectElement: 'data', HTMLScriptElement: 'src',
    HTMLSourceElement: 'src', HTMLVideoElement: 'poster',
  };
  const guarded = new WeakSet();
  // Has a window, or a frame that a script made in it, keep to what is here.
  const guard = (window) => {
    if (guarded.has(window.document)) return;
    guarded.add(window.document);
    // These ask around every proxy and every policy.
    for (const name of ['RTCPeerConnection', 'webkitRTCPeerConnection', 'WebTransport']) {
      delete window[name];
    }
    const patch = (owner, name, make) => {
      if (owner && owner[name]) owner[name] = make(owner[name]);
    };
    const setter = (owner, name, change) => {
      const property = owner && Object.getOwnPropertyDescriptor(owner, name);
      if (!property || !property.set) return;
      Object.defineProperty(owner, name, {
        ...property,
        set(given) {
          property.set.call(this, change(given));
          frames();
        },
      });
    };
    const Plain = window.Request;
    const led = (given) => (given instanceof Plain ? given : here(given));
    for (const name of ['EventSource', 'Request', 'WebSocket']) {
      const change = name === 'Request' ? led : here;
      patch(window, name, (Original) => class extends Original {
        constructor(given, ...rest) {
          super(change(given), ...rest);
        }
      });
    }
    const first = (change) => (original) => function (given, ...rest) {
      return original.call(this, given === undefined ? given : change(given), ...rest);
    };
    patch(window, 'fetch', first(led));
    patch(window, 'open', first(here));
    patch(window.Navigator.prototype, 'sendBeacon', first(here));
    const second = (change) => (original) => function (what, given, ...rest) {
      const done = original.call(this, what, change(given, what), ...rest);
      frames();
      return done;
    };
    patch(window.XMLHttpRequest.prototype, 'open', second((given) => here(given)));
    for (const [kind, name] of Object.entries(kinds)) {
      setter(window[kind] && window[kind].prototype, name, here);
    }
    setter(window.HTMLIFrameElement.prototype, 'srcdoc', within);
    setter(window.HTMLImageElement.prototype, 'srcset', hereAll);
    setter(window.HTMLSourceElement.prototype, 'srcset', hereAll);
    setter(window.HTMLLinkElement.prototype, 'imageSrcset', hereAll);
    // A name here has no domain in common with another.
    setter(window.Document.prototype, 'cookie', (cookie) => String(cookie).replace(/;\s*domain=[^;]*/gi, ''));
    for (const owner of [window.Element.prototype, window.ShadowRoot.prototype]) {
      for (const name of ['innerHTML', 'outerHTML']) setter(owner, name, written);
    }
    patch(window.Element.prototype, 'insertAdjacentHTML', second(written));
    patch(window.Range.prototype, 'createContextualFragment', first(written));
    for (const name of ['write', 'writeln']) {
      patch(window.Document.prototype, name, (write) => function (...given) {
        write.call(this, ...given.map(written));
        frames();
      });
    }
    patch(window.Element.prototype, 'setAttribute', second((given, name) => {
      name = String(name).toLowerCase();
      if (name === 'srcdoc') return within(given);
      if (sets.includes(name)) return hereAll(given);
      return links.includes(name) ? here(given) : given;
    }));
    // A frame is there, and could be used, as soon as its element is.
    for (const kind of ['Node', 'Element', 'Document', 'DocumentFragment', 'CharacterData']) {
      for (const name of ['after', 'append', 'appendChild', 'before', 'insertAdjacentElement',
        'insertBefore', 'prepend', 'replaceChild', 'replaceChildren', 'replaceWith']) {
        const owner = window[kind].prototype;
        if (!Object.hasOwn(owner, name)) continue;
        patch(owner, name, (insert) => function (...given) {
          const done = insert.apply(this, given);
          frames();
          return done;
        });
      }
    }
    // Where a script leads the whole page.
    if (window.navigation) {
      window.navigation.addEventListener('navigate', (event) => {
        const own = here(event.destination.url);
        if (own === event.destination.url || !event.cancelable) return;
        event.preventDefault();
        if (!event.formData) window.location.assign(own);
      });
    }
    new MutationObserver((changes) => {
      frames();
      for (const { addedNodes } of changes) {
        for (const node of addedNodes) {
          if (node.nodeType !== Node.ELEMENT_NODE) continue;
          lead(node);
          node.querySelectorAll(`link, ${all}`).forEach(lead);
        }
      }
    }).observe(window.document, { childList: true, subtree: true });
    const frames = () => {
      for (let at = 0; at < window.length; at += 1) {
        try {
          guard(window[at]);
        } catch {
          // It is another site's, which has its own.
        }
      }
    };
  };
  guard(window);

  // What is shown of all that.
  const kept = new Set();
  const says = document.createElement('div');
  const root = says.attachShadow({ mode: 'closed' });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { all: initial; position: fixed; inset: auto 0 0 auto; z-index: 2147483647; }
    details { margin: .5rem; padding: .25rem .75rem; max-width: min(24rem, 80vw); border-radius: .5rem;
      font: .8125rem/1.5 system-ui, sans-serif; color: #fff; background: #1d3557e6;
      overflow-wrap: anywhere; }
    summary { cursor: pointer; }
    ul { margin: .25rem 0; padding: 0 0 0 1.25rem; max-height: 30vh; overflow: auto; }
    @media print { :host { display: none; } }`);
  root.adoptedStyleSheets = [sheet];
  const span = (seconds) => {
    const units = [[86400, 'day'], [3600, 'hour'], [60, 'minute']];
    const [length, name] = units.find(([unit]) => seconds >= unit) || [1, 'second'];
    const count = Math.floor(seconds / length);
    return `${count} ${name}${count === 1 ? '' : 's'}`;
  };
  const show = () => {
    const parts = [];
    if (told.age) parts.push(`a copy, ${span(Number(told.age))} old`);
    if (kept.size) parts.push(`${kept.size} kept from going out`);
    if (!parts.length || window !== window.top) return;
    const details = document.createElement('details');
    const summary = document.createElement('summary');
    summary.textContent = `Busel: ${told.site}, ${parts.join(', ')}`;
    const list = document.createElement('ul');
    for (const what of kept) {
      const item = document.createElement('li');
      item.textContent = what;
      list.append(item);
    }
    details.append(summary, list);
    root.replaceChildren(details);
    if (document.body && !says.isConnected) document.body.append(says);
  };
  document.addEventListener('securitypolicyviolation', ({ blockedURI, disposition }) => {
    if (disposition !== 'enforce' || !/^(https?|wss?):/.test(blockedURI) || kept.size >= 50) return;
    const { host } = new URL(blockedURI);
    if (host.endsWith(end)) return;
    kept.add(host);
    show();
  });
  document.addEventListener('DOMContentLoaded', show);
})();
