# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# Where hepix-context keeps machine and job features.
if [ -d /etc/machinefeatures ]; then
    MACHINEFEATURES=/etc/machinefeatures
    export MACHINEFEATURES
fi
if [ -d /etc/jobfeatures ]; then
    JOBFEATURES=/etc/jobfeatures
    export JOBFEATURES
fi
