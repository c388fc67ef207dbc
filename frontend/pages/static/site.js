// Times as "3 min ago", renewed each few seconds; the exact UTC time stays in the title.

function ago(then) {
  const s = Math.round((Date.now() - then) / 1000);
  if (s < 0 || s > 172800) return null;
  if (s < 90) return `${s} s ago`;
  return s < 5400 ? `${Math.round(s / 60)} min ago` : `${Math.round(s / 3600)} h ago`;
}

function renew() {
  for (const time of document.querySelectorAll("time.ago")) {
    const text = ago(Date.parse(time.dateTime));
    if (!text) continue;
    time.title ||= time.textContent;
    time.textContent = text;
  }
}

renew();
setInterval(renew, 5000);
