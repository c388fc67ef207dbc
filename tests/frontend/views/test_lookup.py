from cloudping.regions import CATALOGUE
from frontend.views.lookup import matches, short_name


def test_regions_are_found_by_code_name_place_geography_and_partition() -> None:
    def found(text: str) -> set[str]:
        return {code for code, region in CATALOGUE.items() if matches(region, text)}

    assert found("") == set(CATALOGUE)
    assert found("us-east-1") == {"us-east-1"}
    assert found("tokyo, ireland") == {"ap-northeast-1", "eu-west-1"}
    assert found("South America") == {"sa-east-1"}
    assert found("govcloud") == found("aws-us-gov") == {"us-gov-east-1", "us-gov-west-1"}
    assert len(found("aws")) == 34


def test_short_names_are_unique() -> None:
    names = [short_name(region) for region in CATALOGUE.values()]
    assert len(set(names)) == len(names)
