// Examples of the API with the address that this page was asked for.
for (const site of document.querySelectorAll(".site")) site.textContent = location.origin;
