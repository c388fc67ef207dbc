from frontend.pages.links import Links


def test_what_is_chosen_goes_along_and_what_is_the_default_does_not() -> None:
    links = Links("p_99", "1W", {"from": "europe", "within": "80"})
    assert links.matrix() == "/grid/p_99/timeframe/1W?from=europe&within=80"
    assert links.all_pairs() == "/grid/p_99/timeframe/1W"
    assert links.region("eu-west-1") == "/region/eu-west-1?metric=p_99&timeframe=1W"
    assert links.to(metric="p_50").region("eu-west-1") == "/region/eu-west-1?timeframe=1W"
    assert Links().region("eu-west-1") == "/region/eu-west-1"
    assert Links().map("eu-west-1") == "/map?from=eu-west-1"
    assert links.cells("csv") == (
        "/api/v1/matrix?metric=p_99&timeframe=1W&from=europe&within=80&format=csv"
    )
    assert links.pair_data("a", "b", "samples", format="csv") == (
        "/api/v1/pairs/a/b/samples?format=csv"
    )


def test_a_picker_has_one_option_chosen_and_keeps_the_rest() -> None:
    links = Links("p_99", "1W", {"to": "asia"})
    [chosen] = [o for o in links.figures(Links.matrix) if o.is_chosen]
    assert (chosen.label, chosen.href) == ("p99", "/grid/p_99/timeframe/1W?to=asia")
    other = next(o for o in links.timeframes(Links.matrix) if o.label == "1 year")
    assert other.href == "/grid/p_99/timeframe/1Y?to=asia"
