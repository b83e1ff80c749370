"""Options whose proof is a test of their own part, {config: {"file::test": its options}}, and classes without any."""

from __future__ import annotations

from enhance.distributed import Processes
from enhance.fine_tune import StartFrom
from enhance.gate import GateLimits
from enhance.mixing import MixConfig
from enhance.optimizers import OptimizerConfig
from enhance.profile import ProfileConfig
from enhance.recording import DenoiseConfig
from enhance.run_log import LogConfig
from enhance.score import ScoreConfig
from enhance.search import Range, SearchConfig
from enhance.train import RunOptions
from enhance.train_config import TrainConfig
from enhance.training_sounds import Sources

PROVEN: dict[type, dict[str, str]] = {
    TrainConfig: {
        "test_train_options.py::test_every_option_of_the_training_changes_the_weights":
            "optimizer rate betas weight_decay clip critic_optimizer critic_rate critic_betas critic_clip "
            "critic_weight_decay critic_updates critic_every critic_from precision schedule warmup warmup_power "
            "final_rate seed steps epochs held_out_speakers",
        "test_train_options.py::test_an_option_beside_another_changes_the_weights":
            "momentum smoothing critic_momentum decay decay_every held_out_noises",
        "test_train_options.py::test_an_option_of_the_validation_changes_the_score_and_leaves_the_training":
            "validation_batches validation_snr clean_weight average",
        "test_train_options.py::test_lines_and_validations_come_as_often_as_asked": "log_every validate_every",
        "test_train_options.py::test_pieces_of_a_batch_give_the_step_of_the_whole_batch": "accumulate",
        "test_train_options.py::test_channels_last_changes_the_order_in_memory_and_little_else": "channels_last",
        "test_train_options.py::test_the_rate_halves_when_the_validation_stands_still": "halve_after",
        "test_train_options.py::test_a_run_without_progress_ends_early_and_stays_ended": "patience",
        "test_train_options.py::test_the_best_is_the_lowest_error_or_the_highest_quality": "best_by",
        "test_train_options.py::test_measures_are_those_of_the_scoring": "measures",
        "test_train_options.py::test_the_best_few_are_kept_and_ranked": "keep_best",
    },
    OptimizerConfig: {
        "test_optimizers.py::test_the_first_step_of_each_optimizer_is_its_formula": "name rate weight_decay smoothing",
        "test_optimizers.py::test_momentum_carries_the_last_gradient_on": "momentum",
        "test_optimizers.py::test_adams_second_step_follows_the_betas": "betas",
        "test_optimizers.py::test_clipping_bounds_the_norm_of_all_gradients_and_zero_lets_them_pass": "clip",
    },
    RunOptions: {
        "test_every_option.py::test_the_nets_lie_on_the_asked_device": "device",
        "test_train_options.py::test_a_time_limit_pulls_the_rate_down_with_the_clock": "max_minutes",
        "test_train_options.py::test_the_limit_counts_time_on_the_wall_or_of_the_processor": "processor_time",
        "test_run_log.py::test_a_run_logs_examples_and_histograms_only_where_asked": "logs",
        "test_train_options.py::test_a_run_starts_from_a_trained_generator_and_critic": "start",
        "test_distributed.py::test_two_processes_have_the_losses_of_one_with_the_same_batch": "processes",
        "test_training_sounds.py::test_a_worker_that_was_killed_is_reported": "workers",
        "test_search.py::test_a_real_search_trains_each_trial": "on_validation",
    },
    LogConfig: {
        "test_run_log.py::test_a_run_logs_examples_and_histograms_only_where_asked": "kinds examples histograms",
        "test_run_log.py::test_wandb_gets_the_settings_and_all_of_it_in_the_same_run_again": "project",
    },
    StartFrom: {
        "test_train_options.py::test_a_run_starts_from_a_trained_generator_and_critic": "generator critic",
    },
    Processes: {"test_distributed.py::test_rows_are_dealt_out_in_order_and_each_once": "rank count"},
    Sources: {
        "test_cli_training.py::test_a_training_reads_speech_from_where_it_is_told": "data noisy pack noise cache",
        "test_training_sounds.py::test_other_rates_are_refused_or_resampled": "sample_rate resample",
    },
    MixConfig: {
        "test_mixing.py::test_a_mixed_directory_is_complete_and_records_every_draw": "snr",
        "test_cli_audio.py::test_mixing_draws_by_its_seed_and_replaces_only_when_forced": "seed",
        "test_cli_audio.py::test_mixing_takes_one_rate": "sample_rate",
    },
    DenoiseConfig: {
        "test_denoise.py::test_denoise_writes_what_the_model_gives_for_the_whole_file": "model",
        "test_cli_audio.py::test_denoising_converts_and_replaces_only_when_asked": "mix resample",
        "test_cli_audio.py::test_a_channel_is_chosen_of_plain_recordings_that_have_several": "channel",
        "test_cli_audio.py::test_denoising_bears_a_stated_share_of_failures": "max_failed",
        "test_every_option.py::test_denoising_runs_on_the_asked_device_and_into_one_ark_on_request": "device ark",
    },
    ScoreConfig: {
        "test_score.py::test_without_a_reference_only_metrics_that_need_none_are_given": "metrics predictors",
        "test_score.py::test_another_rate_is_refused_or_converted": "sample_rate resample",
        "test_cli_audio.py::test_scoring_bears_a_stated_share_of_failures": "max_failed",
        "test_score.py::test_interval_of_a_mean_is_that_of_whole_speakers": "replicas seed",
    },
    GateLimits: {
        "test_gate.py::test_a_mean_is_judged_with_its_interval_over_speakers": "mean certain",
        "test_gate.py::test_a_metric_that_is_better_when_lower_has_an_upper_limit": "harm max_harmed",
        "test_gate.py::test_utterances_without_a_value_are_counted_and_enter_no_mean": "max_unscored",
        "test_gate.py::test_each_way_to_be_out_of_step_is_a_check_that_names_the_utterance": "max_delay",
        "test_gate.py::test_the_rise_of_the_word_error_rate_is_judged_with_its_interval": "max_wer_rise",
    },
    SearchConfig: {
        "test_search.py::test_every_option_of_a_search_changes_its_trials":
            "trials seed pruner startup spared space",
        "test_search.py::test_the_sampler_decides_once_there_are_trials_to_learn_from": "sampler",
    },
    Range: {"test_search.py::test_every_option_of_a_search_changes_its_trials": "choices low high log whole"},
    ProfileConfig: {
        "test_profile.py::test_a_model_that_sleeps_takes_wall_time_and_no_processor_time": "threads seconds repeats",
    },
}  # fmt: skip

NO_OPTIONS = frozenset({  # what is measured, read or drawn: nobody sets it
    "enhance.augment.child.Voice", "enhance.augment.image_source.Room", "enhance.augment.low_pass.LowPass",
    "enhance.augment.responses.Response", "enhance.compare.Comparison", "enhance.compare.PairedDifference",
    "enhance.critics.critic.Opinion", "enhance.recording.Recording", "enhance.foreign.layout.Foreign",
    "enhance.in_step.Step", "enhance.losses.adversarial.Game", "enhance.metrics.Metric",
    "enhance.metrics.dnsmos.Opinion", "enhance.metrics.summary._Group", "enhance.mixing.Mixture", "enhance.pairs._Draw",
    "enhance.pcm_pipe.PcmFormat", "enhance.profile.Profile", "enhance.search._Trial", "enhance.sounds.Sounds",
    "enhance.statistics.SampleStatistics", "enhance.survey.Cost", "enhance.verdict.Check", "enhance.verdict.Verdict",
})  # fmt: skip
