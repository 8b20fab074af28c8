(function () {
  "use strict";
  var search = document.getElementById("search"), kind = document.getElementById("kind");
  var show = document.getElementById("show"), count = document.getElementById("count");
  var articles = Array.prototype.map.call(document.querySelectorAll("article"), function (element) {
    return {
      element: element, text: element.textContent.toLowerCase(), kind: element.dataset.kind,
      scores: element.dataset.scores.split(" ").map(Number), failed: element.dataset.failed !== "0"
    };
  });
  function wanted(article, words) {
    if (kind.value && article.kind !== kind.value) { return false; }
    if (show.value === "differ" && article.scores.every(function (s) { return s === article.scores[0]; })) { return false; }
    if (show.value === "failed" && !article.failed) { return false; }
    if (show.value.indexOf("wrong ") === 0 && article.scores[Number(show.value.slice(6))] >= 0.5) { return false; }
    return words.every(function (word) { return article.text.indexOf(word) >= 0; });
  }
  function filter() {
    var words = search.value.toLowerCase().split(/\s+/).filter(Boolean), seen = 0;
    articles.forEach(function (article) {
      var yes = wanted(article, words);
      article.element.hidden = !yes;
      seen += yes ? 1 : 0;
    });
    count.textContent = seen + " of " + articles.length;
  }
  [search, kind, show].forEach(function (control) { control.addEventListener("input", filter); });
  search.form.addEventListener("submit", function (event) { event.preventDefault(); });
  filter();
})();
