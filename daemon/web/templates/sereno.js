"use strict";
// While a run is in progress, the part of the page that moves is loaded again every five seconds.
(function () {
  const live = document.getElementById("live");
  if (!live || !live.dataset.moving) { return; }
  let tag = "";
  const timer = setInterval(async function () {
    const answer = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {} }).catch(function () { return null; });
    if (!answer || answer.status === 304) { return; }
    if (!answer.ok) { clearInterval(timer); return; }
    tag = answer.headers.get("ETag") || "";
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!found) { clearInterval(timer); return; }
    live.innerHTML = found.innerHTML;
    if (!found.dataset.moving) { clearInterval(timer); }
  }, 5000);
}());
