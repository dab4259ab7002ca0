"""The contract of a detector: the list of all its checks, the most informative first."""

from __future__ import annotations

from collections.abc import Callable

from oodbench.testing import bases, construction, fitting, generators, portability, scoring
from oodbench.testing.case import DetectorCase

DETECTOR_CHECKS: list[Callable[[DetectorCase], None]] = [
    construction.builds_from_every_preset,
    construction.takes_grey_and_colour_or_refuses,
    construction.parameters_round_trip,
    scoring.networks_are_in_evaluation_mode,
    scoring.one_finite_score_an_image,
    scoring.scores_are_not_constant,
    scoring.noise_scores_higher_than_data,
    scoring.scoring_is_deterministic,
    scoring.scores_do_not_depend_on_the_batch,
    scoring.scoring_leaves_its_images_alone,
    scoring.memory_does_not_grow,
    fitting.training_helps,
    fitting.same_seed_same_scores,
    fitting.another_seed_gives_other_weights,
    fitting.fit_leaves_its_inputs_alone,
    fitting.fit_leaves_global_random_numbers_alone,
    fitting.fit_leaves_the_process_alone,
    fitting.fit_sees_no_out_data,
    fitting.fits_fewer_images_than_a_batch,
    fitting.refit_forgets,
    fitting.interrupted_fit_ends_the_same,
    bases.labels_are_used_only_through_fit,
    bases.base_is_left_alone,
    bases.kept_outputs_give_the_same_scores,
    portability.saved_state_scores_the_same_elsewhere,
    portability.bfloat16_stays_close,
    generators.generators_are_used_on_their_device,
    portability.cpu_and_gpu_agree,
    construction.every_parameter_takes_effect,
]
