// Shows that the server is about to stop, with a button that keeps it on. Written by hand, as the container of one module
// that JupyterLab loads: there is nothing to build.
(() => {
  const EVERY_MS = 30000;
  const base = JSON.parse(document.getElementById('jupyter-config-data').textContent).baseUrl;

  const call = async (method, body) => {
    const token = document.cookie.split('; ').find(part => part.startsWith('_xsrf='));
    const answer = await fetch(base + 'api/autostop', {
      method, body, headers: token ? {'X-XSRFToken': token.slice(6)} : {}
    });
    return answer.ok ? answer.json() : {};
  };

  const activate = app => {
    let shown = null;
    app.commands.addCommand('autostop:stay-awake', {
      label: 'Keep the server on for 2 hours',
      execute: async () => {
        await call('POST', JSON.stringify({hours: 2}));
        shown = null;
      }
    });
    const look = async () => {
      const status = await call('GET').catch(() => ({}));
      const kept = status.awake > status.now && status.awake >= status.stop_at;
      if (status.notice && !kept && shown === null) {
        const actions = status.can_wait
          ? [{label: 'Keep it on for 2 hours', commandId: 'autostop:stay-awake', args: {}, displayType: 'accent'}]
          : [];
        shown = await app.commands.execute('apputils:notify', {
          message: status.notice, type: 'warning', options: {autoClose: false, actions}
        });
      } else if ((!status.notice || kept) && shown !== null && status.now) {
        await app.commands.execute('apputils:dismiss-notification', {id: shown});
        shown = null;
      }
    };
    app.restored.then(() => { look(); setInterval(look, EVERY_MS); });
  };

  const module = {__esModule: true, default: {id: 'autostop:plugin', autoStart: true, activate}};
  (window._JUPYTERLAB = window._JUPYTERLAB || {}).autostop = {init: () => {}, get: async () => () => module};
})();
